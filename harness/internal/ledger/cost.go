package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// Cost is one frame that a client did not get, or could not send, because it was
// being moved or had been: legitimate, and listed one by one.
type Cost struct {
	Fingerprint probe.Fingerprint
	// Frame says which one it was.
	Frame string
	// Time it came to where it ended, in nanoseconds since 1970.
	Time int64
	// Hop is where it ended: the tap that saw it last.
	Hop string
	// Client that the move was of.
	Client string
	// Why it ended there.
	Why string
}

// String is one line.
func (c Cost) String() string {
	return fmt.Sprintf("%s  %s  %s: %s", Clock(c.Time), c.Hop, c.Frame, c.Why)
}

func (a *audit) cost(f *frame, in *pass, chosen *outcome) {
	if len(a.setup.Moves) == 0 {
		return
	}
	at := a.plan.of(in.side)
	if at.role == accessPort {
		if chosen.why == whyMoving {
			a.charge(f, in, at.index, "it left the client")
		}
		return
	}
	if a.refSwitch.refuses(f, in) != "" {
		return
	}
	t := in.tags.outer()
	place := placeOf(at.index, t.Protocol, t.VID())
	if !group(f.dest) {
		if client, ok := a.history.clients[f.dest]; ok {
			a.missed(f, in, client)
		}
		return
	}
	for client, moves := range a.history.moves {
		if len(moves) > 0 && a.meant(f, a.setup.Clients[client].MAC, place) {
			a.missed(f, in, client)
		}
	}
}

// meant tells whether the demux can have sent a copy of a group frame to a place for
// the sake of one client.
func (a *audit) meant(f *frame, mac probe.MAC, place uint64) bool {
	i, ok := a.history.macs[mac]
	if !ok {
		return false
	}
	for _, r := range a.table.sightings(f) {
		at := a.plan.of(r.side)
		if r.side.out() || at.role != workerPort {
			continue
		}
		workers := a.history.assigned[i].legal(r.time, r.time+handlingTime, nil)
		if !slices.Contains(workers, uint64(at.index+1)) {
			continue
		}
		for _, seen := range a.history.locations[i].legal(r.time, a.leftBy(f), nil) {
			if seen&vidOnly == place {
				return true
			}
		}
	}
	return false
}

// leftBy is when the last copy of a frame left the host.
func (a *audit) leftBy(f *frame) int64 {
	var last int64
	for _, r := range a.table.sightings(f) {
		if r.side.out() && a.plan.of(r.side).role == trunkEnd {
			last = max(last, r.time)
		}
	}
	return last
}

// missed charges a frame to a client's move if the client did not get it. If it had
// to, the frame is wrong, and a wrong frame is no cost.
func (a *audit) missed(f *frame, in *pass, client int) {
	port := a.plan.out(accessPort, client)
	if slices.ContainsFunc(a.table.sightings(f), func(r record) bool { return r.side == port }) {
		return
	}
	a.charge(f, in, client, "it came with "+in.tags.outer().String())
}

// charge names a frame as the cost of the latest move of a client before it.
func (a *audit) charge(f *frame, in *pass, client int, how string) {
	var move *Move
	from := a.setup.Clients[client].Place
	for i := range a.history.moves[client] {
		m := &a.history.moves[client][i]
		if m.Start > in.doneBy {
			break
		}
		if move != nil {
			from = move.To
		}
		move = m
	}
	if move == nil {
		return
	}
	c := &a.setup.Clients[client]
	why := fmt.Sprintf("%s while %s was being moved from %s to %s", how, c.Name, from, move.To)
	if in.time > move.End {
		why = fmt.Sprintf("%s, %s after %s had moved from %s to %s", how,
			time.Duration(in.time-move.End), c.Name, from, move.To)
	}
	a.verdict.Costs = append(a.verdict.Costs, Cost{
		Fingerprint: f.fingerprint, Frame: a.describe(f), Time: in.time, Hop: a.plan.of(in.side).name, Client: c.Name, Why: why,
	})
}
