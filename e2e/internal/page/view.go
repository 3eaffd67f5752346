package page

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/harness"
)

// Count is how many specs are in a state.
func (r *Run) Count(s State) (n int) {
	for i := range r.Specs {
		if r.Specs[i].State == s {
			n++
		}
	}
	return n
}

// Scenarios are the specs by their scenarios, in the order of the first of each.
func (r *Run) Scenarios() []Scenario {
	var all []Scenario
	at := map[string]int{}
	alone := len(r.Specs)-r.Count(Skipped) == 1
	for i := range r.Specs {
		s := &r.Specs[i]
		j, there := at[s.Scenario]
		if !there {
			j = len(all)
			at[s.Scenario] = j
			all = append(all, Scenario{Name: s.Scenario})
		}
		open := s.State == Failed || alone && s.State == Passed
		all[j].Specs = append(all[j].Specs, Numbered{Number: i, Spec: s, Open: open, Packed: len(r.Specs) > mostPlain && !open})
	}
	return all
}

// Scenario is the specs of one.
type Scenario struct {
	Name  string
	Specs []Numbered
}

// mostPlain is how many specs a page has in full without a script. Of more, those that have not failed are packed: a browser
// would take many seconds to read them all.
const mostPlain = 200

// Numbered is a spec and its number in the run.
type Numbered struct {
	Number int
	*Spec
	Open, Packed bool
}

// Change is a list of specs that have something in common since the last run.
type Change struct {
	What  string
	Specs []Numbered
}

// Changes are what is different from the last run.
func (r *Run) Changes() []Change {
	var changes []Change
	for _, kind := range []struct {
		what string
		is   func(*Spec) bool
	}{
		{"failed, and passed before", (*Spec).Broken},
		{"failed, as before", (*Spec).StillFails},
		{"passed, and failed before", (*Spec).Repaired},
		{"slower", (*Spec).Slower},
		{"new", (*Spec).New},
	} {
		c := Change{What: kind.what}
		for i := range r.Specs {
			if kind.is(&r.Specs[i]) {
				c.Specs = append(c.Specs, Numbered{Number: i, Spec: &r.Specs[i]})
			}
		}
		if len(c.Specs) > 0 && len(c.Specs) < len(r.Specs)-r.Count(Skipped) {
			changes = append(changes, c)
		}
	}
	return changes
}

// Seconds is the time of all phases.
func (s *Spec) Seconds() float64 { return s.Took.Seconds() }

// FirstFailed is the number of the first spec that has failed, -1 if none has.
func (r *Run) FirstFailed() int {
	for i := range r.Specs {
		if r.Specs[i].State == Failed {
			return i
		}
	}
	return -1
}

// Longest is the time of the spec that took longest.
func (r *Run) Longest() time.Duration {
	var longest time.Duration
	for i := range r.Specs {
		longest = max(longest, r.Specs[i].Took)
	}
	return longest
}

// WrongWindows tells whether the ledger has found anything wrong: then the page shows it, and the message less.
func (s *Spec) WrongWindows() bool {
	for _, w := range s.Windows {
		if w.Verdict.Err() != nil {
			return true
		}
	}
	return false
}

// filters are the kinds of specs that the page can show alone; the first is shown at first.
func filters() []string {
	return []string{"run", "failed", "passed", "skipped", "changed", "all"}
}

// kinds are the filters that a spec passes.
func kinds(s *Spec) string {
	all := []string{"all", string(s.State)}
	if s.State != Skipped {
		all = append(all, "run")
	}
	if s.New() || s.Slower() || s.Broken() || s.Repaired() {
		all = append(all, "changed")
	}
	return strings.Join(all, " ")
}

// Rest is the name of the last phase: a spec's time that is no phase of its lab.
const Rest = "traffic and the rest"

// timeBar is a spec's time by phase, drawn.
type timeBar struct {
	Text  string
	Style template.CSS // one element's: a thousand rows of one for each phase take a browser long
}

func newTimeBar(s *Spec, longest time.Duration) timeBar {
	if len(s.Phases) == 0 || longest == 0 {
		return timeBar{}
	}
	var text, colours []string
	end := 0.0
	for i, p := range s.Phases {
		text = append(text, fmt.Sprintf("%s %.2f s", p.Name, p.Seconds))
		end += p.Seconds
		colours = append(colours, fmt.Sprintf("var(--p%d) 0 %s%%", i, percent(end, s.Took.Seconds())))
	}
	style := fmt.Sprintf("width:%s%%;background:linear-gradient(90deg,%s)", percent(s.Took.Seconds(), longest.Seconds()), strings.Join(colours, ","))
	return timeBar{Text: strings.Join(text, ", "), Style: template.CSS(style)} //nolint:gosec // numbers alone
}

func percent(part, whole float64) string {
	return fmt.Sprintf("%.2f", 100*max(0, part)/max(whole, 1e-9))
}

// PhasesOf gives a spec's phases: the seconds of those of its lab, and the rest of the time that it took.
func PhasesOf(lab map[string]float64, took time.Duration) []Phase {
	var phases []Phase
	rest := took.Seconds()
	for _, name := range harness.PhaseNames() {
		phases = append(phases, Phase{name, lab[name]})
		rest -= lab[name]
	}
	return append(phases, Phase{Rest, max(0, rest)})
}

// NotesOf are what a drawing of a running lab says of its nodes.
func NotesOf(lab *harness.Lab) map[string]string {
	notes := map[string]string{"switch": string(lab.Switch()), "host": lab.Attach}
	for _, n := range lab.Nodes()[1:] {
		notes[n.Name] = n.Container
	}
	return notes
}

// shownWindow is a window, and whether it is the spec's only one.
type shownWindow struct {
	harness.ClosedWindow
	Alone bool
}

// Shown are the spec's windows.
func (s *Spec) Shown() []shownWindow {
	var shown []shownWindow
	for _, w := range s.Windows {
		shown = append(shown, shownWindow{w, len(s.Windows) == 1})
	}
	return shown
}
