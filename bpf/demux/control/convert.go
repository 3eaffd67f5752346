package control

import (
	"fmt"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

func location(names Names, l demux.Location) *Location {
	if l.IsZero() {
		return nil
	}
	return &Location{
		Trunk:      names.Name(l.Trunk),
		TrunkIndex: l.Trunk,
		Protocol:   demux.ProtocolName(l.Protocol),
		VID:        l.VID(),
		PCP:        l.PCP(),
		DEI:        l.DEI(),
	}
}

func interfaces(attached []demux.Attachment) []Interface {
	list := make([]Interface, 0, len(attached))
	for _, a := range attached {
		list = append(list, Interface{Name: a.Name, Index: a.Index, Attach: string(a.Mode), State: State(a), MTU: a.MTU, Peer: a.Peer, EarlyDrop: a.EarlyDrop})
	}
	return list
}

// examine adds to trunks and workers what the kernel says of them, and what that will lose.
func examine(factsOf func(name string) Facts, trunks, workers []Interface) {
	var largest, smallest Interface // of the trunks that are there
	for i := range trunks {
		trunk, facts := &trunks[i], factsOf(trunks[i].Name)
		if trunk.MTU > largest.MTU {
			largest = *trunk
		}
		if trunk.MTU > 0 && (smallest.MTU == 0 || trunk.MTU < smallest.MTU) {
			smallest = *trunk
		}
		if facts.Hardware && !facts.Promiscuous {
			trunk.add("%s is not promiscuous: frames to MACs other than its own may not get in; ip link set %s promisc on", trunk.Name, trunk.Name)
		}
		trunk.Problems = append(trunk.Problems, obstacles(trunk.Name, facts)...)
	}
	for i := range workers {
		worker := &workers[i]
		worker.Problems = obstacles(worker.Name, factsOf(worker.Name))
		switch {
		case worker.MTU == 0 || smallest.MTU == 0: // one end is not there
		case worker.MTU < largest.MTU:
			worker.add("%s has MTU %d and trunk %s has %d: longer frames are dropped as too_long; raise it at both ends of its link",
				worker.Name, worker.MTU, largest.Name, largest.MTU)
		case worker.MTU > smallest.MTU:
			worker.add("%s has MTU %d and trunk %s has %d: longer frames of the worker are dropped there as too_long; raise it at both ends of the trunk",
				worker.Name, worker.MTU, smallest.Name, smallest.MTU)
		}
	}
}

func (i *Interface) add(format string, values ...any) {
	i.Problems = append(i.Problems, fmt.Sprintf(format, values...))
}

// State says why the demux does not use an interface, or [StateUp].
func State(a demux.Attachment) string {
	switch {
	case a.Index == 0:
		return StateAbsent
	case a.Down:
		return StateDown
	}
	return StateUp
}

func assignmentList(names Names, workers []demux.Attachment, from []demux.Assignment) []Assignment {
	indexes := make(map[string]int, len(workers))
	for _, w := range workers {
		indexes[w.Name] = w.Index
	}
	list := make([]Assignment, 0, len(from))
	for _, a := range from {
		list = append(list, Assignment{
			Assignment:  a,
			WorkerIndex: indexes[a.Worker],
			Location:    location(names, a.Location),
		})
	}
	return list
}

func event(names Names, e demux.Event) Event {
	return Event{
		Type:     string(e.Type),
		MAC:      e.MAC,
		From:     location(names, e.From),
		To:       location(names, e.To),
		Time:     e.Time,
		Earliest: e.Earliest,
	}
}
