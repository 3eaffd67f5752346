package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// Network is a Plan that is laid, or is being laid. All methods are safe for concurrent use; moves are
// made one at a time.
type Network struct {
	Steps []Step // that made it

	group uint32       // of every veth pair's near end and every bridge
	nodes []*namespace // those there are so far, the host first
	host  *namespace
	sw    *namespace

	tunnels                  []tunnelEnd
	clients, trunks, workers []link // in the plan's order; the near end of a client's is the switch's, else the host's; without an index until they are made

	macs *macs // of interfaces that the plan gives none

	mu     sync.Mutex   // guards what is above and below, and serves moves one at a time
	cables []*os.File   // TAP devices
	began  counterFiles // counters of when each node was wired
	inside switcher     // nil until the switch is there
	plan   Plan         // clients' places as of the last move
	unsure map[int]bool // clients whose last move failed half-way
	closed bool         // the switch has ended
}

var errClosed = errors.New("the network is closed")

func (n *Network) node(name string) *namespace {
	i := slices.IndexFunc(n.nodes, func(ns *namespace) bool { return ns.node == name })
	if i < 0 {
		return nil
	}
	return n.nodes[i]
}

// Namespace is the open network namespace of a node: HostNode, SwitchNode or
// the name of a client or worker. It belongs to the Network: do not close it,
// and do not use it after Close.
func (n *Network) Namespace(node string) (*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errClosed
	}
	ns := n.node(node)
	if ns == nil {
		return nil, fmt.Errorf("finding the network namespace of %q: the lab has no such node", node)
	}
	return ns.file, nil
}

// Inodes are the nodes by the inode number of their network namespaces. The host's is the host's, also with a worker in it, see [Network.NodeOf].
func (n *Network) Inodes() (map[uint32]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nodes := map[uint32]string{}
	for _, ns := range n.nodes {
		info, err := ns.file.Stat()
		if err != nil {
			return nil, fmt.Errorf("telling the network namespace of %s from others: %w", ns.node, err)
		}
		inode := uint32(info.Sys().(*syscall.Stat_t).Ino)
		nodes[inode] = cmp.Or(nodes[inode], ns.node) // the host is the first
	}
	return nodes, nil
}

// NodeOf is the node that an interface belongs to: a worker in the host's namespace has one there.
func (n *Network) NodeOf(node, ifname string) string {
	if node == HostNode && ifname == topology.NodeInterface {
		return cmp.Or(n.inHost(), node)
	}
	return node
}

// Move takes a client to another VLAN, another trunk or both, and says when.
// Its addresses, neighbours, carrier and open sockets stay; what the switch
// learned behind its port is forgotten. A client that is there already stays as
// it is, and the window is empty. After an error the port may be in neither
// VLAN; moving it again is safe.
func (n *Network) Move(ctx context.Context, m Move) (MoveWindow, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return MoveWindow{}, errClosed
	}
	doing := fmt.Sprintf("moving client %s to %v", m.Client, m.Place)
	i := slices.IndexFunc(n.plan.Clients, func(c topology.Client) bool { return c.Name == m.Client })
	if i < 0 {
		return MoveWindow{}, fmt.Errorf("%s: the lab has no such client", doing)
	}
	if err := m.VLAN.Validate(); err != nil {
		return MoveWindow{}, fmt.Errorf("%s: %w", doing, err)
	}
	if m.Trunk < 0 || m.Trunk >= n.plan.Trunks {
		return MoveWindow{}, fmt.Errorf("%s: the lab has no such trunk", doing)
	}
	if err := ctx.Err(); err != nil {
		return MoveWindow{}, fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	client := &n.plan.Clients[i]
	if !n.unsure[i] && m.Place == client.Place {
		now := time.Now().UnixNano()
		return MoveWindow{Start: now, End: now}, nil
	}
	n.unsure[i] = true
	w, err := n.inside.move(ctx, n.clients[i].near.index, m.Place)
	if err != nil {
		return w, fmt.Errorf("%s: %w", doing, err)
	}
	delete(n.unsure, i)
	client.Place = m.Place
	return w, nil
}

// SetTrunk takes the switch's end of a trunk down, or brings it up and returns once both
// ends carry frames.
func (n *Network) SetTrunk(ctx context.Context, trunk int, up bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	if trunk < 0 || trunk >= len(n.trunks) {
		return fmt.Errorf("setting trunk %d up or down: the lab has no such trunk", trunk)
	}
	l := n.trunks[trunk]
	if !up {
		if err := n.sw.handle.LinkSetDown(byIndex(l.far.index)); err != nil {
			return fmt.Errorf("taking %s of the switch down: %w", l.far.name, err)
		}
		return nil
	}
	return errors.Join(n.sw.up(l.far.index), n.sw.awaitUp(ctx, l.far.index), n.host.awaitUp(ctx, l.near.index))
}

// TapPoints lists both ends of every link, and last what goes on to the host's
// own stack. What is inside the switch is not among them: whatever passes there
// passes a port or a trunk as well.
func (n *Network) TapPoints() []probe.TapPoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	var points []probe.TapPoint
	largest := n.plan.largestPacket()
	for _, e := range n.ends() {
		p := probe.TapPoint{Name: e.node + "/" + e.name, Interface: e.tap, MAC: e.mac, MaxPacket: largest}
		if n.plan.offloads() {
			p.SCTPSegment = n.plan.MTU
		}
		switch e.node {
		case HostNode:
			p.Marks = probe.Out
		default:
			p.Namespace = e.node
			if e.node == n.inHost() || n.plan.RedirectPeer {
				p.Marks = probe.In
			}
		}
		points = append(points, p)
	}
	stack := probe.TapPoint{Name: HostStack, EtherTypes: probe.CommonEtherTypes()}
	if n.inHost() != "" {
		stack.Except = topology.NodeInterface
	}
	return append(points, stack)
}

// inHost is the name of the worker in the host's namespace, "" for none.
func (n *Network) inHost() string {
	for _, w := range n.plan.Workers {
		if w.InHost {
			return w.Name
		}
	}
	return ""
}

// ends lists both ends of every link, in the order a client's frame meets them.
func (n *Network) ends() []end {
	var ends []end
	for _, l := range slices.Concat(n.clients, n.trunks) {
		ends = append(ends, l.far, l.near)
	}
	for _, l := range n.workers {
		ends = append(ends, l.near, l.far)
	}
	return ends
}

// Unplug ends the switch and takes the clients off it, which no frame leaves or reaches any more: Close does the same, and this
// lets whoever holds the trunks and the workers leave them meanwhile.
func (n *Network) Unplug() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unplug()
}

func (n *Network) unplug() error {
	if n.closed {
		return nil
	}
	n.closed = true
	errs := []error{n.closeTunnels()}
	if n.inside != nil {
		errs = append(errs, n.inside.close())
	}
	if n.sw != nil {
		errs = append(errs, n.sw.deleteGroup(n.group))
	}
	return errors.Join(errs...)
}

// Close removes every link, bridge and program that Apply and Move made and
// lets go of all namespaces, the switch's with it. It goes on past failures and
// joins them. Sysctls stay as Apply set them. Closing twice is safe.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	errs := []error{n.unplug()}
	if n.host != nil { // every pair has its near end in the switch, or here
		errs = append(errs, n.host.deleteGroup(n.group))
	}
	for _, tap := range n.cables {
		errs = append(errs, tap.Close())
	}
	for _, ns := range n.nodes {
		errs = append(errs, ns.close())
	}
	n.host, n.sw, n.cables, n.nodes = nil, nil, nil, nil
	return errors.Join(errs...)
}

type link struct{ near, far end }

type end struct {
	node  string // HostNode, SwitchNode, or the name of a client or worker
	name  string // of the interface
	tap   string // the interface where taps see its frames
	index int    // only meaningful in the namespace of the end
	mac   demux.MAC
}

// Move says where a client is to be plugged in from now on.
type Move struct {
	Client string `json:"client"`
	Place
}

// MoveWindow is when a move happened, in nanoseconds of CLOCK_REALTIME since
// 1970, the clock AF_PACKET stamps frames with. Before Start the port belonged
// to the old VLAN alone, after End it belongs to the new one alone; in between
// a frame may have been switched by the old, the new or neither.
type MoveWindow struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}
