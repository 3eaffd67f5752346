package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// counter is one of the demux's counters. The zero value is none.
type counter int

// shownCounters is how many counters of clients a report has.
const shownCounters = 128

// Kinds of counters, in the order of reports.
const (
	kindRx        = "rx"
	kindTx        = "tx"
	kindFlooded   = "flooded"
	kindPassed    = "passed"
	kindForwarded = "forwarded"
	kindDropped   = "dropped"
)

// tally is what one counter must have counted in the window.
type tally struct {
	kind, name string
	want       control.Tally
	slack      control.Tally // of it, what may as well be another counter's
	more       control.Tally // what may come on top of it
	got        control.Tally
	gone       bool // nobody has the counter any more
}

// counters is what the demux must have counted.
type counters struct {
	tallies []tally
	drops   map[string]counter
	first   int // of the clients'
	workers int // the first of the workers'
	pass    counter
	// Of MACs without a worker.
	unknownPassed, unknownForwarded counter
	severed                         control.Tally // what may be a drop or not
}

func newCounters(setup *Setup, h *history) *counters {
	c := &counters{drops: map[string]counter{}, tallies: make([]tally, 1)}
	add := func(kind, name string) counter {
		c.tallies = append(c.tallies, tally{kind: kind, name: name})
		return counter(len(c.tallies) - 1)
	}
	c.first = len(c.tallies)
	for i, mac := range h.names {
		// A client that was assigned anew in the window was assigned before as well,
		// whose counters went with it.
		_, assigned := h.assigned[i].last()
		for _, former := range []bool{true, false} {
			for _, kind := range []string{kindRx, kindTx} {
				t := &c.tallies[add(kind, mac.String())]
				t.gone = former || !assigned
			}
		}
	}
	c.workers = len(c.tallies)
	for _, w := range setup.Workers {
		add(kindFlooded, w.Name)
	}
	c.pass = add(kindPassed, "untagged")
	c.unknownPassed, c.unknownForwarded = add(kindPassed, "unknown"), add(kindForwarded, "unknown")
	for _, reason := range dropReasons() {
		c.drops[reason] = add(kindDropped, reason)
	}
	return c
}

func (c *counters) rx(mac int, l period, octets uint64) entry { return c.client(mac, l, 0, octets) }
func (c *counters) tx(mac int, l period, octets uint64) entry { return c.client(mac, l, 1, octets) }

func (c *counters) client(mac int, l period, direction int, octets uint64) entry {
	former := counter(c.first + 4*mac + direction)
	current := former + 2
	switch l {
	case formerPeriod:
		return entry{counter: former, frames: 1, octets: octets}
	case eitherPeriod:
		return entry{counter: former, frames: 1, octets: octets, or: current}
	}
	return entry{counter: current, frames: 1, octets: octets}
}

func (c *counters) flooded(worker int) counter { return counter(c.workers + worker) }
func (c *counters) passed() counter            { return c.pass }
func (c *counters) drop(reason string) counter { return c.drops[reason] }

func (c *counters) add(e entry) {
	t := &c.tallies[e.counter]
	t.want.Packets += e.frames
	t.want.Bytes += e.octets
	if e.or != 0 {
		o := &c.tallies[e.or]
		o.more.Packets, o.more.Bytes = o.more.Packets+e.frames, o.more.Bytes+e.octets
	}
}

// either adds an entry of which it cannot be told from outside whether it went to
// one counter or to another: both are drops, or one counts what was handed to a link that was going.
func (c *counters) either(chosen entry, others []outcome) {
	c.add(chosen)
	for i := range others {
		e := others[i].entry
		if e.counter == chosen.counter || e.counter == 0 {
			continue
		}
		t, u := &c.tallies[chosen.counter], &c.tallies[e.counter]
		t.slack.Packets, t.slack.Bytes = t.slack.Packets+chosen.frames, t.slack.Bytes+chosen.octets
		u.more.Packets, u.more.Bytes = u.more.Packets+e.frames, u.more.Bytes+e.octets
		if t.kind != u.kind { // a drop, or a frame for a link that was going
			c.severed.Packets, c.severed.Bytes = c.severed.Packets+e.frames, c.severed.Bytes+e.octets
		}
		return
	}
}

// compare takes what the demux counted and gives what it counted wrong, in the
// order of the report.
func (c *counters) compare(h *history, before, after *control.Counters) (wrong []tally) {
	got := c.reported(h, before, after)
	for i := 1; i < len(c.tallies); i++ {
		t := &c.tallies[i]
		if t.gone {
			continue
		}
		t.got = got[counterName{t.kind, t.name}]
		delete(got, counterName{t.kind, t.name})
		if !t.agrees() {
			wrong = append(wrong, *t)
		}
	}
	// What may be one drop or another must still be one.
	all := tally{slack: c.severed, more: c.severed}
	for i := range c.tallies {
		t := &c.tallies[i]
		if t.kind != kindDropped {
			continue
		}
		all.want.Packets, all.want.Bytes = all.want.Packets+t.want.Packets, all.want.Bytes+t.want.Bytes
		all.got.Packets, all.got.Bytes = all.got.Packets+t.got.Packets, all.got.Bytes+t.got.Bytes
	}
	if len(wrong) == 0 && !all.agrees() {
		all.kind, all.name = kindDropped, "in all"
		wrong = append(wrong, all)
	}
	// And nothing else may have counted anything, such as drops for other reasons:
	// wrong_place.
	for _, name := range sortedNames(got) {
		if got[name] != (control.Tally{}) {
			wrong = append(wrong, tally{kind: name.kind, name: name.name, got: got[name]})
		}
	}
	return wrong
}

// counted are those that have counted anything, or had to, after compare.
func (c *counters) counted() (all []Difference) {
	clients := 0
	for i := 1; i < len(c.tallies); i++ {
		t := &c.tallies[i]
		if t.gone || t.want == (control.Tally{}) && t.got == (control.Tally{}) {
			continue
		}
		if i < c.workers {
			if clients++; clients > shownCounters {
				continue
			}
		}
		all = append(all, Difference{Kind: t.kind, Name: t.name, Want: t.want, Got: t.got, Wrong: !t.agrees()})
	}
	return all
}

func (t *tally) agrees() bool {
	between := func(got, want, slack, more uint64) bool { return got+slack >= want && got <= want+more }
	return between(t.got.Packets, t.want.Packets, t.slack.Packets, t.more.Packets) &&
		between(t.got.Bytes, t.want.Bytes, t.slack.Bytes, t.more.Bytes)
}

type counterName struct{ kind, name string }

func sortedNames(m map[counterName]control.Tally) []counterName {
	return slices.SortedFunc(maps.Keys(m), func(a, b counterName) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
	})
}

// reported is the difference between two readings, by name. A client that was
// assigned anew in between began at 0 again.
func (c *counters) reported(h *history, before, after *control.Counters) map[counterName]control.Tally {
	m := byName(after)
	for n, t := range byName(before) {
		now, there := m[n]
		if !there && (n.kind == kindRx || n.kind == kindTx) || h.renewed(n.name) {
			continue
		}
		m[n] = control.Tally{Packets: now.Packets - t.Packets, Bytes: now.Bytes - t.Bytes}
	}
	return m
}

func byName(r *control.Counters) map[counterName]control.Tally {
	m := map[counterName]control.Tally{}
	for _, x := range r.Clients {
		mac := x.MAC.String()
		m[counterName{kindRx, mac}], m[counterName{kindTx, mac}] = x.Rx, x.Tx
	}
	for _, x := range r.Workers {
		m[counterName{kindFlooded, x.Worker}] = x.Flooded
	}
	m[counterName{kindPassed, "untagged"}] = r.Passed
	m[counterName{kindPassed, "unknown"}], m[counterName{kindForwarded, "unknown"}] = r.UnknownPassed, r.UnknownForwarded
	for _, x := range r.Drops {
		m[counterName{kindDropped, x.Reason}] = x.Tally
	}
	return m
}

// Unexplained is an error if counters differ between two readings between which no
// frame was sent: one at the end of a window, one at the begin of the next. Those of a
// MAC that was unassigned meanwhile begin again at zero.
func Unexplained(before, after *control.Counters, changes []Change) error {
	var errs []error
	was, is := byName(before), byName(after)
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, n := range sortedNames(all) {
		want, why := was[n], ""
		if slices.ContainsFunc(changes, func(c Change) bool { return c.Worker == "" && c.MAC.String() == n.name }) {
			want, why = control.Tally{}, " although the client was unassigned since"
		}
		if is[n] != want {
			errs = append(errs, fmt.Errorf("counter %s of %s was %d frames of %d octets at the end of the window before, and is %d of %d%s",
				n.kind, n.name, was[n].Packets, was[n].Bytes, is[n].Packets, is[n].Bytes, why))
		}
	}
	return errors.Join(errs...)
}

// renewed tells whether a MAC was assigned anew within the window.
func (h *history) renewed(name string) bool {
	var mac probe.MAC
	if mac.UnmarshalText([]byte(name)) != nil {
		return false
	}
	i, ok := h.macs[mac]
	return ok && h.renewals[i].times > 0
}
