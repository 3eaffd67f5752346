package control

import (
	"fmt"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// ProtocolName returns the name of a tag's EtherType: "802.1Q", "802.1ad", or hexadecimal for others.
func ProtocolName(protocol uint16) string {
	switch protocol {
	case 0x8100:
		return "802.1Q"
	case 0x88a8:
		return "802.1ad"
	default:
		return fmt.Sprintf("0x%04x", protocol)
	}
}

func location(names Names, l demux.Location) *Location {
	if l.IsZero() {
		return nil
	}
	return &Location{
		Trunk:      names.Name(l.Trunk),
		TrunkIndex: l.Trunk,
		Protocol:   ProtocolName(l.Protocol),
		VID:        l.VID(),
		PCP:        l.PCP(),
		DEI:        l.DEI(),
	}
}

func interfaces(attached []demux.Attachment) []Interface {
	list := make([]Interface, 0, len(attached))
	for _, a := range attached {
		list = append(list, Interface{Name: a.Name, Index: a.Index, Attach: string(a.Mode), State: state(a)})
	}
	return list
}

// state says why the demux does not use an interface.
func state(a demux.Attachment) string {
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
			MAC:         a.MAC.String(),
			Worker:      a.Worker,
			WorkerIndex: indexes[a.Worker],
			Location:    location(names, a.Location),
		})
	}
	return list
}

func event(names Names, e demux.Event) Event {
	return Event{
		Type: string(e.Type),
		MAC:  e.MAC.String(),
		From: location(names, e.From),
		To:   location(names, e.To),
		Time: e.Time,
	}
}
