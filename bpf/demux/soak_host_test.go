package demux_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// soak is a host with a demux, and what is expected of both.
type soak struct {
	t       *testing.T
	rng     *rand.Rand
	path    string
	demux   *demux.Demux
	opts    demux.Options
	modes   []demux.AttachMode // that the kernel has
	home    int                // network namespaces
	away    int
	capture int
	sender  int

	freed  []int // indexes of interfaces that are deleted
	reused []int // peers of interfaces that got one of these in this step

	made    int // interfaces
	ifaces  []*soakIface
	devices []*soakDevice
	clients map[int]*soakDevice

	marks, marker int // a wire of its own for marks

	seq     uint32
	allowed map[uint32][]int // where a frame may come in, by its number
	arrived map[uint32]bool
}

// soakIface is one interface in its life, with the far end of its wire.
type soakIface struct {
	name, peerName string
	index, peer    int
	up, here       bool
	unhooked       bool // our program is not on it
}

// soakDevice is what the demux is to remember.
type soakDevice struct {
	name  string
	trunk bool
	iface *soakIface // nil while it is not there
}

func newSoak(t *testing.T, path string) *soak {
	s := &soak{t: t, path: path, clients: map[int]*soakDevice{}, allowed: map[uint32][]int{}, arrived: map[uint32]bool{}}
	open := func() int {
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		s.must(err, "opening a namespace")
		return fd
	}
	s.home = open()
	s.must(unix.Unshare(unix.CLONE_NEWNET), "making a namespace")
	s.away = open()
	s.enter(s.home)
	var err error
	s.capture, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(unix.ETH_P_ALL>>8|unix.ETH_P_ALL&0xff<<8))
	s.must(err, "opening a packet socket")
	s.must(unix.SetsockoptInt(s.capture, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20), "setting a buffer")
	s.sender, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	s.must(err, "opening a packet socket")
	s.opts = demux.Options{Capacity: 64, PinPath: path, Attach: demux.AttachAuto}
	s.modes = []demux.AttachMode{demux.AttachAuto, demux.AttachClsact}
	var name unix.Utsname
	s.must(unix.Uname(&name), "asking for the kernel's release")
	if linux.TCX.In(unix.ByteSliceToString(name.Release[:])) {
		s.modes = append(s.modes, demux.AttachTCX)
	}
	s.add("mark", 0)
	s.marks, s.marker = s.ifaces[0].peer, s.ifaces[0].index
	s.ifaces = nil
	for _, name := range []string{"t0", "t1", "w0", "w1", "w2"} {
		s.add(name, 0)
	}
	s.pinOthers()
	return s
}

func (s *soak) end() {
	if s.demux != nil {
		_ = s.demux.Detach()
	}
	for _, fd := range []int{s.capture, s.sender, s.home, s.away} {
		unix.Close(fd)
	}
}

func (s *soak) enter(namespace int) {
	s.must(unix.Setns(namespace, unix.CLONE_NEWNET), "entering a namespace")
}

func (s *soak) load() {
	var err error
	s.demux, err = demux.Load(s.opts)
	s.must(err, "loading")
	for _, name := range []string{"t0", "t1"} {
		s.attachTrunk(name)
	}
}

func (s *soak) attachTrunk(name string) {
	_, err := s.demux.AttachTrunk(name, false)
	s.must(err, "attaching trunk %s", name)
	if s.device(name) == nil {
		s.devices = append(s.devices, &soakDevice{name: name, trunk: true, iface: s.named(name)})
	}
	s.named(name).unhooked = false
}

func (s *soak) link(name string) netlink.Link {
	found, err := netlink.LinkByName(name)
	s.must(err, "looking up %s", name)
	return found
}

// setUp returns once the interface and its peer send.
func (s *soak) setUp(name string) {
	s.must(netlink.LinkSetIP6AddrGenMode(s.link(name), 1), "silencing IPv6 on %s", name)
	s.must(netlink.LinkSetUp(s.link(name)), "setting %s up", name)
}

func (s *soak) awaitUp(names ...string) {
	for _, name := range names {
		s.must(nettest.AwaitOperational(name), "setting up the host")
	}
}

// add makes an interface with the index, 0 for a new one.
func (s *soak) add(name string, index int) {
	s.made++
	i := &soakIface{name: name, peerName: fmt.Sprintf("p%d", s.made), up: true, here: true}
	s.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}, PeerName: i.peerName}), "making %s", name)
	s.setUp(name)
	s.setUp(i.peerName)
	s.awaitUp(name, i.peerName)
	i.index, i.peer = s.link(name).Attrs().Index, s.link(i.peerName).Attrs().Index
	s.ifaces = append(s.ifaces, i)
}

// named returns the interface of that name that is here.
func (s *soak) named(name string) *soakIface {
	for _, i := range s.ifaces {
		if i.here && i.name == name {
			return i
		}
	}
	return nil
}

func (s *soak) device(name string) *soakDevice {
	for _, d := range s.devices {
		if d.name == name {
			return d
		}
	}
	return nil
}

func (s *soak) deviceOf(i *soakIface) *soakDevice {
	for _, d := range s.devices {
		if d.iface == i {
			return d
		}
	}
	return nil
}

// follow makes the expectation what the demux is to make of the interfaces now. It knows an
// interface by our program on it, and any other by its name. A TCX link goes away and comes back with its
// interface, a filter does not: where nobody looks in between, one that is back with its link was never away.
func (s *soak) follow() {
	var renamed []*soakDevice
	for _, d := range s.devices {
		switch i := d.iface; {
		case i == nil:
		case !i.here || i.unhooked || !slices.Contains(s.ifaces, i):
			i.unhooked = true
			d.iface = nil
		case d.name != i.name:
			renamed = append(renamed, d)
			d.name = ""
		}
	}
	for _, d := range renamed {
		if waiting := s.device(d.iface.name); waiting != nil {
			for n, has := range s.clients {
				if has == waiting {
					s.clients[n] = d
				}
			}
			s.forget(waiting)
		}
		d.name = d.iface.name
	}
	for _, d := range s.devices {
		if i := s.named(d.name); d.iface == nil && i != nil {
			d.iface = i
		}
		if d.iface != nil {
			d.iface.unhooked = false
		}
	}
}

func (s *soak) forget(d *soakDevice) {
	s.devices = slices.DeleteFunc(s.devices, func(other *soakDevice) bool { return other == d })
}

// forgetIdle expects workers without clients to be forgotten.
func (s *soak) forgetIdle(former map[*soakDevice]bool) {
	for d := range former {
		if !slices.Contains(slices.Collect(maps.Values(s.clients)), d) {
			s.forget(d)
		}
	}
}

func (s *soak) clientNumbers() []int { return slices.Sorted(maps.Keys(s.clients)) }

func (s *soak) pickTrunk() *soakIface {
	var up []*soakIface
	for _, d := range s.devices {
		if d.trunk && d.iface != nil && d.iface.up {
			up = append(up, d.iface)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[s.rng.IntN(len(up))]
}

// differs says where the demux does not remember and serve the devices that are expected.
func (s *soak) differs() error {
	want, have := map[string]string{}, map[string]string{}
	for _, d := range s.devices {
		text := fmt.Sprintf("trunk=%v absent", d.trunk)
		if d.iface != nil {
			text = fmt.Sprintf("trunk=%v %d down=%v", d.trunk, d.iface.index, !d.iface.up)
		}
		want[d.name] = text
	}
	for trunk, list := range map[bool][]demux.Attachment{true: s.demux.Trunks(), false: s.demux.Workers()} {
		for _, a := range list {
			have[a.Name] = fmt.Sprintf("trunk=%v absent", trunk)
			if a.Index != 0 {
				have[a.Name] = fmt.Sprintf("trunk=%v %d down=%v", trunk, a.Index, a.Down)
			}
		}
	}
	if !maps.Equal(want, have) {
		return fmt.Errorf("the demux has %v, want %v", have, want)
	}
	assignments, err := s.demux.Assignments()
	s.must(err, "listing the assignments")
	workers := map[demux.MAC]string{}
	for _, a := range assignments {
		workers[a.MAC] = a.Worker
	}
	for n, d := range s.clients {
		if workers[mac(n)] != d.name {
			return fmt.Errorf("client %d has worker %q, want %q", n, workers[mac(n)], d.name)
		}
	}
	if len(workers) != len(s.clients) {
		return fmt.Errorf("%d clients, want %d", len(workers), len(s.clients))
	}
	return nil
}

func (s *soak) describe() string {
	drops := ""
	counters, err := s.demux.Counters()
	s.must(err, "reading counters")
	for _, d := range counters.Drops {
		if d.Packets > 0 {
			drops += fmt.Sprintf(" %s=%d", d.Reason, d.Packets)
		}
	}
	return "dropped so far:" + drops
}

func (s *soak) transmit(from int, frame []byte) {
	s.must(unix.Sendto(s.sender, frame, 0, &unix.SockaddrLinklayer{Ifindex: from}), "sending at interface %d", from)
}

// receive takes what has come in, and waits at most so long for the first.
func (s *soak) receive(wait time.Duration) {
	buf := make([]byte, 2048)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.capture), Events: unix.POLLIN}}, int(wait.Milliseconds()))
		if n == 0 || err == unix.EINTR {
			return
		}
		s.must(err, "polling")
		wait = 0
		size, from, err := unix.Recvfrom(s.capture, buf, unix.MSG_DONTWAIT)
		if err == unix.ENETDOWN || err == unix.EAGAIN {
			continue
		}
		s.must(err, "receiving")
		ll := from.(*unix.SockaddrLinklayer)
		if ll.Pkttype == unix.PACKET_OUTGOING ||
			ll.Ifindex != s.marker && !slices.ContainsFunc(s.ifaces, func(i *soakIface) bool { return i.peer == ll.Ifindex }) {
			continue
		}
		for at := 12; at+8 <= size && at < 24; at += 2 {
			if binary.BigEndian.Uint32(buf[at:]) != soakMagic {
				continue
			}
			seq := binary.BigEndian.Uint32(buf[at+4:])
			if !slices.Contains(s.allowed[seq], ll.Ifindex) {
				s.fail("frame %d of %d came in at interface %d, it may at %v", seq, s.seq, ll.Ifindex, s.allowed[seq])
			}
			s.arrived[seq] = true
		}
	}
}

// detachByForce takes our program off an interface.
func (s *soak) detachByForce(i *soakIface) {
	attached, err := link.QueryPrograms(link.QueryOptions{Target: i.index, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		for _, program := range attached.Programs {
			id, _ := program.LinkID()
			found, err := link.NewFromID(id)
			s.must(err, "opening a link")
			s.must(found.(interface{ Detach() error }).Detach(), "detaching a link")
			s.must(found.Close(), "closing a link")
		}
	}
	qdiscs, err := netlink.QdiscList(s.link(i.name))
	s.must(err, "listing qdiscs")
	for _, qdisc := range qdiscs {
		if qdisc.Type() == "clsact" {
			s.must(netlink.QdiscDel(qdisc), "removing a qdisc")
		}
	}
	i.unhooked = true
}

// finish demands that a detached demux leaves nothing.
func (s *soak) finish() {
	s.must(s.demux.Detach(), "detaching")
	s.demux = nil
	s.expectOthersAlone(s.path)
	for _, i := range s.ifaces {
		if !i.here {
			continue
		}
		attached, err := link.QueryPrograms(link.QueryOptions{Target: i.index, Attach: ebpf.AttachTCXIngress})
		if err == nil && len(attached.Programs) > 0 {
			s.fail("a program is left on %s", i.name)
		}
		qdiscs, err := netlink.QdiscList(s.link(i.name))
		s.must(err, "listing qdiscs")
		for _, qdisc := range qdiscs {
			if qdisc.Type() == "clsact" {
				s.fail("a qdisc is left on %s", i.name)
			}
		}
	}
}
