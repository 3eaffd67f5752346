// Package page writes what a run found as one HTML file that needs nothing beside it: no network, no other file and,
// to be read, no script.
package page

import (
	"time"

	"github.com/vlandemux/vlandemux/harness"
)

// Run is what a page shows.
type Run struct {
	Title   string
	Started time.Time
	Took    time.Duration
	Facts   []Fact
	Specs   []Spec
	Bench   *Bench // optional
}

// Fact is a name and what it is, one line or several.
type Fact struct{ Name, Value string }

// State is what has become of a spec.
type State string

// States of a spec. One that was interrupted, timed out or panicked has failed.
const (
	Passed  State = "passed"
	Failed  State = "failed"
	Skipped State = "skipped"
)

// Spec is one spec of a run.
type Spec struct {
	Scenario, Text string
	State          State
	Started        time.Time
	Took           time.Duration
	Phases         []Phase  // of its lab, in their order; the last is "traffic" and what else there was
	Lab            *Drawing // nil if none has started
	Windows        []harness.ClosedWindow
	Steps          []Step
	// Failure is the message, Where the lines of code, Again the command that runs the spec again.
	Failure, Where, Again string
	Output                string // what the spec has written
	// Evidence are files, by their paths relative to the page.
	Evidence []string
	// Last is what became of it in the last run that it was part of; nil for a new one.
	Last *Outcome
}

// Name is a spec's full text.
func (s *Spec) Name() string { return s.Scenario + " " + s.Text }

// Phase is a part of a spec's time.
type Phase struct {
	Name    string
	Seconds float64
}

// Step is what a spec did, and when.
type Step struct {
	Text string
	At   time.Duration // since the spec's start
}

// Drawing is of the lab that a spec ran on.
type Drawing struct {
	Topology harness.Topology
	// Notes of its nodes, "switch" and "host" among them: names of containers.
	Notes map[string]string
	Text  string // one line
}

// Bench is the result of the last bench.
type Bench struct {
	SVG  []byte
	When time.Time
	Rows []BenchRow
}

// BenchRow is one line of bench.json.
type BenchRow struct {
	Name, Variant, Unit string
	Median, Min, Max    float64
}
