package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// reference is what the ledger asks about the dataplane: first what it learns, from all
// frames, then what may become of each.
type reference interface {
	// learn takes a frame that came in, and what left of it.
	learn(f *frame, p *pass, outs []record)
	// handle adds all that may become of a frame to the alternatives.
	handle(f *frame, p *pass)
}

// Reference is the contract of a dataplane: it says what has to become of each frame
// that comes to the host, from the frame alone. Write it from what the dataplane
// promises, not from its code.
type Reference interface {
	// Outcomes are all that may become of a frame, at least one. It is called several
	// times for the same frame, in no order.
	Outcomes(frame Passage) []Outcome
}

// Passage is a frame that came to the host.
type Passage struct {
	// Port it came in at: "trunk0", or the worker's name.
	Port                string
	Source, Destination probe.MAC
	// Tags of the frame, the outermost first.
	Tags []probe.Tag
	// EtherType behind the tags.
	EtherType uint16
	// Octets with all tags and without FCS.
	Octets int
}

// Outcome is one thing that may become of a frame.
type Outcome struct {
	// Leaving are the copies that leave the host, none if it is dropped.
	Leaving []Leaving
	// Why a frame is dropped, for the report. Optional.
	Why string
}

// Leaving is a copy of a frame that leaves the host, with other tags or the same.
type Leaving struct {
	// Port it leaves at: "trunk0", the worker's name, or "stack" for the host's own stack.
	Port string
	// Tags it has then, the outermost first.
	Tags []probe.Tag
}

// otherContract asks a Reference.
type otherContract struct {
	Reference
	plan         *layout
	alternatives *alternatives
	wrong        map[string]bool // with the reference itself
}

func (*otherContract) learn(*frame, *pass, []record) {}

func (c *otherContract) handle(f *frame, p *pass) {
	in := Passage{
		Port: strings.TrimPrefix(c.plan.of(p.side).name, "host/"), Source: f.source, Destination: f.dest,
		EtherType: f.etherType, Octets: int(p.length),
	}
	for i := range int(p.tags.count) {
		in.Tags = append(in.Tags, p.tags.tag(i))
	}
	outcomes := c.Outcomes(in)
	if len(outcomes) == 0 {
		c.wrong[fmt.Sprintf("it has no outcome for the frame %+v: one that is dropped has an outcome without copies", in)] = true
		outcomes = []Outcome{{}}
	}
	for _, o := range outcomes {
		start := c.alternatives.mark()
		for _, l := range o.Leaving {
			tap, there := c.plan.named["host/"+l.Port]
			if !there || len(l.Tags) > probe.SightedTags {
				c.wrong[fmt.Sprintf("it lets frames leave at port %q with %d tags; there are the ports %q, and at most %d tags", l.Port, len(l.Tags), c.ports(), probe.SightedTags)] = true
				continue
			}
			c.alternatives.emit(emission{
				side: sideOf(tap, probe.Out), tags: stackOf(l.Tags), length: uint16(in.Octets + tagOctets*(len(l.Tags)-len(in.Tags))),
			})
		}
		why := o.Why
		if len(o.Leaving) == 0 && why == "" {
			why = "dropped"
		}
		c.alternatives.add(outcome{want: c.alternatives.since(start), why: why})
	}
}

func (c *otherContract) ports() []string {
	var ports []string
	for _, t := range c.plan.taps {
		if port, ours := strings.CutPrefix(t.name, "host/"); ours && port != topology.NodeInterface {
			ports = append(ports, port)
		}
	}
	return ports
}

// mistakes are those of a lab's own reference, which leave nothing to be believed.
func (a *audit) mistakes() []string {
	c, other := a.refDemux.(*otherContract)
	if !other {
		return nil
	}
	all := slices.Sorted(maps.Keys(c.wrong))
	for i := range all {
		all[i] = "the topology's reference: " + all[i]
	}
	return all
}
