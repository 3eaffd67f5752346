package ledger

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// handlingTime bounds, in nanoseconds, how long after it came in a part can have handled
// a frame that was never seen to leave. It says how far from a move a frame may
// have fallen victim to it, and nothing else.
const handlingTime = int64(10e6)

// The values of the registers.
//
//	port         a place, or nowhere while it is being moved
//	switch entry a client's index + 1, viaTrunk, or 0 for not learned
//	assignment   a worker's index + 1, or 0
//	location     a place with the whole TCI, or 0 for not seen
const (
	nowhere  uint64 = 0
	viaTrunk uint64 = 1 << 32
)

// placeOf packs trunk, protocol and TCI. With a bare VID it is the place itself.
func placeOf(trunk int, protocol, tci uint16) uint64 {
	return uint64(trunk+1)<<32 | uint64(protocol)<<16 | uint64(tci)
}

const vidOnly = ^uint64(0xf000)

func trunkOf(place uint64) int { return int(place>>32) - 1 }
func tagOf(place uint64) probe.Tag {
	return probe.Tag{Protocol: uint16(place >> 16), TCI: uint16(place)}
}

type entryKey struct {
	place uint64
	mac   probe.MAC
}

// history is everything the parts of the lab remember, through the whole window.
type history struct {
	ports     []register // by client
	atPlace   map[uint64][]int
	entries   map[entryKey]*register
	macs      map[probe.MAC]int // of everything that is assigned at some time
	named     map[string]int    // clients
	names     []probe.MAC
	assigned  []register
	present   []register // by worker: 1 while it is there
	trunksUp  []register // by trunk: 1 while it is up
	mtus      []int      // by worker, 0 where every frame of the lab fits
	locations []register
	renewals  []renewal
	allowed   [][]uint64 // places, by MAC; nil for anywhere
	refusals  [][]write  // by MAC: seen at a place where it may not be
	clients   map[probe.MAC]int
	initial   []uint64 // of a switch entry
	moves     [][]Move // by client, in time
}

func newHistory(setup *Setup) *history {
	h := &history{
		ports: make([]register, len(setup.Clients)), atPlace: map[uint64][]int{}, entries: map[entryKey]*register{},
		macs: map[probe.MAC]int{}, clients: map[probe.MAC]int{}, moves: make([][]Move, len(setup.Clients)),
		initial: []uint64{0}, named: map[string]int{},
	}
	h.followPorts(setup)
	h.followAssignments(setup)
	h.followWorkers(setup)
	h.followTrunks(setup)
	if setup.SwitchKnows {
		h.initial = append(h.initial, viaTrunk)
	}
	return h
}

func (h *history) followPorts(setup *Setup) {
	at := func(p topology.Place) uint64 { return placeOf(p.Trunk, p.VLAN.Protocol, p.VLAN.VID) }
	stay := func(client int, place uint64) {
		if !slices.Contains(h.atPlace[place], client) {
			h.atPlace[place] = append(h.atPlace[place], client)
		}
	}
	for i, c := range setup.Clients {
		h.named[c.Name], h.clients[c.MAC] = i, i
		h.ports[i].initial = []uint64{at(c.Place)}
		stay(i, at(c.Place))
	}
	moves := slices.Clone(setup.Moves)
	slices.SortStableFunc(moves, func(a, b Move) int { return cmp.Compare(a.Start, b.Start) })
	for _, m := range moves {
		i := h.named[m.Client]
		h.moves[i] = append(h.moves[i], m)
		// A read within the window can find it nowhere; one behind it cannot.
		h.ports[i].maybe(nowhere, m.Start, m.Start-1)
		h.ports[i].write(at(m.To), m.Start, m.End)
		stay(i, at(m.To))
	}
	for i := range h.ports {
		h.ports[i].seal()
	}
	for place := range h.atPlace {
		slices.Sort(h.atPlace[place])
	}
}

func (h *history) followAssignments(setup *Setup) {
	worker := map[string]uint64{}
	for i, w := range setup.Workers {
		worker[w.Name] = uint64(i + 1)
	}
	number := func(mac probe.MAC) int {
		i, ok := h.macs[mac]
		if !ok {
			i = len(h.names)
			h.macs[mac], h.names = i, append(h.names, mac)
			h.assigned = append(h.assigned, register{initial: []uint64{0}})
			h.locations = append(h.locations, register{initial: []uint64{0}})
			h.renewals = append(h.renewals, renewal{})
			var places []uint64
			for _, p := range setup.Allowed[mac] {
				places = append(places, placeOf(p.Trunk, p.VLAN.Protocol, p.VLAN.VID))
			}
			h.allowed, h.refusals = append(h.allowed, places), append(h.refusals, nil)
		}
		return i
	}
	last := map[int]string{}
	for _, mac := range slices.SortedFunc(maps.Keys(setup.Assignments), compareMACs) {
		i := number(mac)
		last[i] = setup.Assignments[mac]
		h.assigned[i].initial = []uint64{worker[last[i]]}
		h.locations[i].initial = []uint64{h.expected(i)}
	}
	for _, mac := range slices.SortedFunc(maps.Keys(setup.Learned), compareMACs) {
		i := number(mac)
		h.locations[i].initial = nil
		for _, l := range setup.Learned[mac] {
			h.locations[i].initial = append(h.locations[i].initial, placeOf(l.Trunk, l.Tag.Protocol, l.Tag.TCI))
		}
	}
	changes := slices.Clone(setup.Changes)
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(a.Start, b.Start) })
	for _, c := range changes {
		i := number(c.MAC)
		h.assigned[i].write(worker[c.Worker], c.Start, c.End)
		if last[i] == "" || c.Worker == "" {
			// Not a change of worker but a new assignment: its location and counters begin anew.
			at := h.expected(i)
			if c.Worker == "" {
				at = 0
			}
			h.locations[i].write(at, c.Start, c.End)
		}
		h.renewals[i].change(last[i] != "", c)
		last[i] = c.Worker
	}
	for i := range h.assigned {
		h.assigned[i].seal()
	}
}

// expected is the location of a MAC that has not been seen since it was assigned: that of the
// only place where it may be.
func (h *history) expected(mac int) uint64 {
	if len(h.allowed[mac]) == 1 {
		return h.allowed[mac][0]
	}
	return 0
}

// mayBe tells whether the demux lets a MAC be at a place.
func (h *history) mayBe(mac int, place uint64) bool {
	return h.allowed[mac] == nil || slices.Contains(h.allowed[mac], place&vidOnly)
}

func (h *history) followWorkers(setup *Setup) {
	for _, w := range setup.Workers {
		h.mtus = append(h.mtus, w.MTU)
		r := register{initial: []uint64{1}}
		for _, o := range setup.Outages {
			if o.Worker == w.Name {
				r.write(0, o.Start, o.End)
			}
		}
		r.seal()
		h.present = append(h.present, r)
	}
}

func (h *history) followTrunks(setup *Setup) {
	for i := range setup.Trunks {
		r := register{initial: []uint64{1}}
		for _, c := range setup.TrunkChanges {
			if c.Trunk == i {
				r.write(map[bool]uint64{true: 1}[c.Up], c.Start, c.End)
			}
		}
		r.seal()
		h.trunksUp = append(h.trunksUp, r)
	}
}

// severed tells whether a worker's link was going while a frame was on it.
func (h *history) severed(worker int, r *record) bool {
	there, sure := h.present[worker].sole(r.time, r.time+handlingTime)
	return !sure || there == 0
}

// renewal tells when a MAC was assigned anew, and so its counters began at 0 again.
type renewal struct {
	times int   // how often
	ended int64 // the end of the call that took the last assignment but one away
	began int64 // the start of the call that made the last one
}

// period is whether a frame was handled in a MAC's last assignment or one before it.
type period int

const (
	lastPeriod period = iota
	formerPeriod
	eitherPeriod
)

func (r *renewal) change(assigned bool, c Change) {
	switch {
	case assigned && c.Worker == "":
		r.ended = c.End
	case !assigned && c.Worker != "":
		r.times++
		r.began = c.Start
	}
}

func (r *renewal) of(p *pass) period {
	switch {
	case r.times == 0 || p.time > r.ended:
		return lastPeriod
	case p.doneBy < r.began:
		return formerPeriod
	}
	return eitherPeriod
}

// entry is the switch's entry of a MAC at a place.
func (h *history) entry(place uint64, mac probe.MAC) *register {
	key := entryKey{place, mac}
	r := h.entries[key]
	if r == nil {
		r = &register{initial: h.initial}
		if i, ok := h.clients[mac]; ok && len(h.initial) > 1 {
			r.initial = append(slices.Clone(h.initial), uint64(i+1))
		}
		h.entries[key] = r
	}
	return r
}

// forget empties the switch's entries that name a moved port, and makes all
// registers readable.
func (h *history) forget() {
	for _, r := range h.entries {
		r.seal()
	}
	later := map[*register][]write{}
	for client, moves := range h.moves {
		for _, m := range moves {
			for _, from := range h.ports[client].legal(m.Start-1, m.Start-1, nil) {
				h.flush(from, client, m, later)
			}
		}
	}
	for r, writes := range later {
		r.writes = append(r.writes, writes...)
		r.seal()
	}
	for i := range h.locations {
		h.locations[i].seal()
	}
}

// flush forgets a port at the place it leaves. What was learned there on the trunk
// may be forgotten too if nobody stays: a switch can keep an empty VLAN or not.
func (h *history) flush(from uint64, client int, m Move, later map[*register][]write) {
	inhabited := false
	for _, other := range h.atPlace[from] {
		place, ok := h.ports[other].sole(m.Start, m.End)
		inhabited = inhabited || other != client && ok && place == from
	}
	port := uint64(client + 1)
	for key, r := range h.entries {
		if key.place != from {
			continue
		}
		values := r.legal(m.Start-1, m.End, nil)
		switch {
		case len(values) == 1 && values[0] == port:
			later[r] = append(later[r], write{begin: m.Start, end: m.End})
		case !inhabited || slices.Contains(values, port):
			later[r] = append(later[r], write{begin: m.Start, end: m.End, optional: true})
		}
	}
}

// learned is what the locations can hold in the end.
func (h *history) learned() map[probe.MAC][]Location {
	all := map[probe.MAC][]Location{}
	for i, mac := range h.names {
		for _, place := range h.locations[i].legal(math.MaxInt64, math.MaxInt64, nil) {
			if place != 0 {
				all[mac] = append(all[mac], Location{Trunk: trunkOf(place), Tag: tagOf(place)})
			}
		}
	}
	return all
}

func compareMACs(a, b probe.MAC) int { return bytes.Compare(a[:], b[:]) }
