package ledger

import (
	"errors"
	"fmt"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// VLAN is a VLAN as an access port is configured with it.
type VLAN = probe.VLAN

// Place is a VLAN on a trunk: where an access port can be.
type Place struct {
	Trunk string // the trunk's name
	VLAN  VLAN
}

// String gives "802.1Q 7 on trunk0".
func (p Place) String() string { return p.VLAN.String() + " on " + p.Trunk }

// Client is a client with its access port. Its taps are "NAME/INTERFACE" at the
// client and "switch/NAME" at the switch.
type Client struct {
	Name      string
	MAC       probe.MAC
	Interface string // of the client's end; "eth0" if empty
	Place     Place  // where its port was when the taps began
}

// Worker is a worker. Its taps are "host/NAME" at the host and "NAME/INTERFACE" at
// the worker.
type Worker struct {
	Name      string
	MAC       probe.MAC
	Interface string // of the worker's end; "eth0" if empty
}

// Assignment gives the frames of a MAC to a worker.
type Assignment struct {
	MAC    probe.MAC
	Worker string
}

// Location is where the demux had seen a MAC when the taps began.
type Location struct {
	MAC   probe.MAC
	Trunk string
	Tag   probe.Tag
}

// Move is one client taken to another place. Between Start and End, in
// nanoseconds since 1970 on the clock of the taps, its port may be at either place
// or at none.
type Move struct {
	Client     string
	To         Place
	Start, End int64
}

// Change is one change of an assignment. Between Start (the call began) and End
// (it returned), in nanoseconds since 1970 on the clock of the taps, either may hold.
type Change struct {
	MAC        probe.MAC
	Worker     string // "" takes the assignment away
	Start, End int64
}

// Lab is what a ledger has to know of a lab: plain data. The zero value of each
// optional field stands for what a new lab has.
type Lab struct {
	// Trunks are the names of the trunks. Their taps are "switch/NAME" and
	// "host/NAME".
	Trunks  []string
	Clients []Client
	Workers []Worker
	// Assignments when the taps began.
	Assignments []Assignment
	// PassUntagged says that the demux leaves untagged frames to the host's stack.
	PassUntagged bool
	// Learned are the locations that the demux knew when the taps began, such as
	// an earlier verdict's. Of several for one MAC, it is one of them. Optional.
	Learned []Location
	// SwitchKnows says that the switch may have learned ports before the taps
	// began: its first frame to each MAC may be flooded or not. Optional.
	SwitchKnows bool
	// Moves and Changes while the taps ran, in any order. Those of one client, or
	// of one MAC, must not overlap. Optional.
	Moves   []Move
	Changes []Change
}

// Validate names every mistake in the description in one error.
func (l *Lab) Validate() error {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf(format, args...))
	}
	trunks, clients, workers := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, t := range l.Trunks {
		if trunks[t] {
			wrong("trunk %q is there twice", t)
		}
		trunks[t] = true
	}
	for _, c := range l.Clients {
		if clients[c.Name] {
			wrong("client %q is there twice", c.Name)
		}
		clients[c.Name] = true
		if !trunks[c.Place.Trunk] {
			wrong("client %q is on trunk %q, which is none of the lab's", c.Name, c.Place.Trunk)
		}
	}
	for _, w := range l.Workers {
		if workers[w.Name] || clients[w.Name] || trunks[w.Name] {
			wrong("the name of worker %q is there twice", w.Name)
		}
		workers[w.Name] = true
	}
	for _, a := range l.Assignments {
		if !workers[a.Worker] {
			wrong("%s is assigned to worker %q, which is none of the lab's", a.MAC, a.Worker)
		}
	}
	for _, c := range l.Changes {
		if c.Worker != "" && !workers[c.Worker] {
			wrong("%s is assigned to worker %q, which is none of the lab's", c.MAC, c.Worker)
		}
		if c.End < c.Start {
			wrong("a change of the assignment of %s ends before it starts", c.MAC)
		}
	}
	for _, m := range l.Moves {
		if !clients[m.Client] {
			wrong("client %q moves, and is none of the lab's", m.Client)
		}
		if !trunks[m.To.Trunk] {
			wrong("client %q moves to trunk %q, which is none of the lab's", m.Client, m.To.Trunk)
		}
		if m.End < m.Start {
			wrong("a move of client %q ends before it starts", m.Client)
		}
	}
	for _, l := range l.Learned {
		if !trunks[l.Trunk] {
			wrong("%s was seen on trunk %q, which is none of the lab's", l.MAC, l.Trunk)
		}
	}
	if err := errors.Join(mistakes...); err != nil {
		return fmt.Errorf("the ledger's description of the lab is wrong: %w", err)
	}
	return nil
}
