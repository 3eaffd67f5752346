package ledger

import (
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// role is what a tap sits on.
type role uint8

const (
	clientEnd  role = iota // a client's interface
	accessPort             // the switch's end of it
	switchEnd              // the switch's end of a trunk
	trunkEnd               // the host's end of a trunk
	workerPort             // the host's end of a worker's link
	workerEnd              // a worker's interface
	hostStack              // what goes on to the host's own stack, behind the demux
)

// stackTap is the name of the tap of what goes on to the host's own stack.
const stackTap = "host/stack"

// part is what handles frames between taps.
type part uint8

const (
	endpoint part = iota
	theSwitch
	theDemux
)

func (r role) part() part {
	switch r {
	case accessPort, switchEnd:
		return theSwitch
	case trunkEnd, workerPort, hostStack:
		return theDemux
	}
	return endpoint
}

// side is one direction at one tap: tap index × 2, plus 1 for out.
type side uint16

func sideOf(tap int, d probe.Direction) side { return side(tap*2 + int(d-probe.In)) }

func (s side) tap() int  { return int(s / 2) }
func (s side) out() bool { return s&1 == 1 }
func (s side) direction() probe.Direction {
	return probe.In + probe.Direction(s&1)
}

type tapPoint struct {
	name  string
	role  role
	index int  // of the client, worker or trunk
	peer  int  // the tap at the other end of the link
	past  bool // of a worker's end: what comes in there has not crossed the other end
}

// layout is a lab's taps, in the order a frame meets them on its way to a worker.
type layout struct {
	taps  []tapPoint
	named map[string]int
	tap   [hostStack + 1][]int // by role and index
	setup *Setup
}

func newLayout(setup *Setup) *layout {
	l := &layout{named: map[string]int{}, setup: setup}
	add := func(name string, r role, index int) {
		l.named[name] = len(l.taps)
		l.tap[r] = append(l.tap[r], len(l.taps))
		l.taps = append(l.taps, tapPoint{name: name, role: r, index: index})
	}
	for i, c := range setup.Clients {
		add(c.Name+"/"+topology.NodeInterface, clientEnd, i)
	}
	for i, c := range setup.Clients {
		add("switch/"+c.Name, accessPort, i)
	}
	for i := range setup.Trunks {
		add("switch/"+topology.TrunkName(i), switchEnd, i)
	}
	for i := range setup.Trunks {
		add("host/"+topology.TrunkName(i), trunkEnd, i)
	}
	for i, w := range setup.Workers {
		add("host/"+w.Name, workerPort, i)
	}
	for i, w := range setup.Workers {
		add(w.Name+"/"+topology.NodeInterface, workerEnd, i)
	}
	add(stackTap, hostStack, 0)
	for _, ends := range [][2]role{{clientEnd, accessPort}, {switchEnd, trunkEnd}, {workerPort, workerEnd}} {
		for i, near := range l.tap[ends[0]] {
			far := l.tap[ends[1]][i]
			l.taps[near].peer, l.taps[far].peer = far, near
		}
	}
	for i, w := range setup.Workers {
		l.taps[l.tap[workerEnd][i]].past = setup.RedirectPeer && w.Kind == topology.WorkerVeth && !w.InHost
	}
	return l
}

// Taps are the names of the taps that Check needs, in the order a frame meets them
// on its way from a client to a worker; last that of the host's own stack.
func (s *Setup) Taps() []string {
	plan := newLayout(s)
	names := make([]string, len(plan.taps))
	for i, t := range plan.taps {
		names[i] = t.name
	}
	return names
}

func (l *layout) out(r role, index int) side { return sideOf(l.tap[r][index], probe.Out) }

// far is where what leaves at a side comes in; false for the host's stack, where it ends.
func (l *layout) far(s side) (side, bool) {
	at := l.of(s)
	return sideOf(at.peer, probe.In), at.role != hostStack
}

func (l *layout) of(s side) tapPoint { return l.taps[s.tap()] }
