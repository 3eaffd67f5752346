package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// forgetLate is how long the demux may need, beyond what it promises, until it has forgotten an unused
// location: its process may have to wait for a processor.
const forgetLate = int64(time.Second)

// forget notes when the demux has forgotten locations, by its events, instead of what was noted before. Where that
// was not its place to do wrongEvents tells, and what frames it was followed by checkFrames.
func (a *audit) forget(all []control.Event) {
	if a.setup.Age == 0 {
		return
	}
	forgotten := func(w write) bool { return w.forgotten }
	for i := range a.history.locations {
		r := &a.history.locations[i]
		r.writes = slices.DeleteFunc(r.writes, forgotten)
		for _, e := range all {
			if e.MAC == a.history.names[i] && e.Type == "forgotten" {
				r.writes = append(r.writes, write{begin: earliest(&e) - eventSlack, end: e.Time.UnixNano() + eventSlack, forgotten: true})
			}
		}
		r.seal()
	}
}

// unused tells whether the demux can have forgotten a location then: it has an age, and nothing was
// learned from the client within that time.
func (a *audit) unused(mac int, e *event) bool {
	return a.setup.Age != 0 && a.history.expected(mac) == 0 && !slices.ContainsFunc(a.history.locations[mac].writes, func(w write) bool {
		return !w.optional && w.value != 0 && w.begin-eventSlack > e.time-int64(a.setup.Age) && w.end+eventSlack < e.earliest
	})
}

// unforgotten names the first time when a client was silent for so long that its location had to be forgotten, and was not.
func (a *audit) unforgotten(mac int) []string {
	if a.setup.Age == 0 || a.history.expected(mac) != 0 || a.renewed(mac) {
		return nil
	}
	ends := int64(0) // of what is known of the window
	for _, r := range a.table.records {
		ends = max(ends, r.time)
	}
	writes := a.history.locations[mac].writes
	for i, w := range writes {
		next := write{begin: ends}
		if i+1 < len(writes) {
			next = writes[i+1]
		}
		if silent := next.begin - w.end; w.value != 0 && !next.forgotten && silent > int64(a.setup.Age+a.setup.Age/4)+forgetLate {
			return []string{fmt.Sprintf("no event says that the location of %s was forgotten, which sent nothing for %v after %s",
				a.history.names[mac], time.Duration(silent).Round(time.Millisecond), Clock(w.end))}
		}
	}
	return nil
}
