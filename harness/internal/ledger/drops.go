package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/drops"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// ordinary are the reasons for which the kernel drops packets wherever a lab works: nobody at an end asked for the frame, or a socket was closed.
func ordinary() []string { return []string{"UNHANDLED_PROTO", "OTHERHOST", "QUEUE_PURGE"} }

// kernel asks once what the kernel has dropped.
func (a *audit) kernel() *drops.Report {
	if a.dropped == nil {
		a.dropped = &drops.Report{}
		if a.in.Drops != nil {
			*a.dropped = a.in.Drops()
		}
	}
	return a.dropped
}

// blame says in the trace of a frame which of the packets that the kernel has dropped it was, if it is missing anywhere.
func (a *audit) blame(f *frame, wrong *WrongFrame) {
	missing := 0
	for i := range wrong.Hops {
		if wrong.Hops[i].Fault == faultMissing {
			missing++
		}
	}
	if missing == 0 || a.in.Drops == nil {
		return
	}
	report := a.kernel()
	if report.Unavailable != "" {
		wrong.Kernel = []string{"why the kernel dropped it is not known: " + report.Unavailable}
		return
	}
	found := a.dropsOf(f, report)
	none := len(found) == 0
	for i := range wrong.Hops {
		if h := &wrong.Hops[i]; h.Fault == faultMissing && len(found) > 0 {
			far := a.plan.taps[a.plan.taps[a.plan.named[h.Tap]].peer].name
			nearest := 0
			for j := range found {
				if found[j].distance(h.Tap, far) < found[nearest].distance(h.Tap, far) {
					nearest = j
				}
			}
			h.Kernel = "dropped by the kernel at " + found[nearest].text()
			if len(found) > 1 {
				found = slices.Delete(found, nearest, nearest+1)
			}
		}
	}
	for _, d := range found {
		if d.Reason == programsEnd && slices.ContainsFunc(wrong.Hops, func(h TracedHop) bool { return h.Kernel != "" }) {
			continue // what was copied and has gone on
		}
		wrong.Kernel = append(wrong.Kernel, fmt.Sprintf("%s dropped by the kernel at %s", Clock(d.Time), d.text()))
	}
	if none {
		wrong.Kernel = []string{"the kernel reports no drop of it" + notKept(report)}
	}
}

type foundDrop struct {
	drops.Drop
	flow bool // it is a super-packet of the frame's flow, and may be another
}

func (d foundDrop) text() string {
	if d.flow {
		return d.String() + ", as part of a super-packet of its flow"
	}
	return d.String()
}

// programsEnd is the reason for what a program at an interface has copied or refused.
const programsEnd = "TC_INGRESS"

// distance is how far a drop is from a tap where the frame is missing: at the interface or the other end of its link, in its node, or
// elsewhere.
func (d foundDrop) distance(tap, far string) int {
	node, _, _ := strings.Cut(tap, "/")
	switch {
	case d.Place() == tap || d.Place() == far:
		return 0
	case d.Node == node:
		return 1
	case d.Reason != programsEnd:
		return 2
	}
	return 3
}

// dropsOf are the drops of a frame, in order of time, but for those that it has to meet: where it was seen to come in at an end of
// the lab, or to go on to the host's stack, that is the end of its way.
func (a *audit) dropsOf(f *frame, report *drops.Report) (found []foundDrop) {
	octets, known := a.data(f)
	ended := map[string]int{}
	var first int64
	for i, r := range a.table.sightings(f) {
		if i == 0 {
			first = r.time
		}
		switch at := a.plan.of(r.side); {
		case at.role == hostStack:
			ended["host"]++
		case at.role.part() == endpoint && !r.side.out():
			ended[at.name]++
		}
	}
	for _, d := range report.Drops {
		ours := known && probe.Begins(octets, d.Octets) || len(d.Octets) == d.Length && d.Length > 0 && probe.FingerprintOf(d.Octets) == f.fingerprint
		flow := !ours && known && d.Segment > 0 && d.Time >= first && probe.SameFlow(octets, d.Octets)
		if !ours && !flow {
			continue
		}
		if ended[d.Place()] > 0 {
			ended[d.Place()]--
			continue
		}
		if d.Node == "host" && ended["host"] > 0 && slices.Contains(ordinary(), d.Reason) {
			ended["host"]--
			continue
		}
		found = append(found, foundDrop{Drop: d, flow: flow})
	}
	return found
}

// notKept says what is not known of the drops, "" if nothing.
func notKept(report *drops.Report) string {
	var kinds []string
	for _, t := range report.Totals {
		if missing := t.Packets - t.Copied; t.Packets > t.Copied {
			kinds = append(kinds, fmt.Sprintf("%d at %s", missing, t.Kind))
		}
	}
	if report.Uncounted > 0 {
		kinds = append(kinds, fmt.Sprintf("%d more", report.Uncounted))
	}
	if len(kinds) == 0 {
		return ""
	}
	return "; of those that were counted and not copied it may be one: " + strings.Join(kinds, ", ")
}

// Unusual are the kinds of drops that a lab need not have.
func (v *Verdict) unusual() []drops.Total {
	return slices.DeleteFunc(slices.Clone(v.Dropped), func(t drops.Total) bool { return slices.Contains(ordinary(), t.Reason) })
}

// complainDrops lists what the kernel has dropped in the window.
func (v *Verdict) complainDrops(w *strings.Builder) {
	unusual := v.unusual()
	if len(unusual) == 0 {
		return
	}
	w.WriteString("\n")
	table(w, func(line func(...any)) {
		line("DROPPED BY THE KERNEL AT", "PACKETS", "REASON", "FUNCTION")
		for _, t := range unusual[:min(len(unusual), shownFrames)] {
			line(t.Place(), t.Packets, t.Reason, t.Function)
		}
	})
	if more := len(unusual) - shownFrames; more > 0 {
		fmt.Fprintf(w, "  and %d kinds of drops more\n", more)
	}
}
