package demux_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

var broadcast = demux.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// trunkNames are those of a bed.
var trunkNames = [2]string{"trunk0", "trunk1"}

// patience is how long to wait for what must happen: the machine may be busy, or emulated.
const patience = 30 * time.Second

// bed is one demux between two trunks and three workers:
//
//	sw0 == trunk0 \       / w0 -- p0
//	               [demux]-- w1 -- p1
//	sw1 == trunk1 /       \ w2 -- p2
type bed struct {
	*GomegaWithT
	t       *testing.T
	demux   *demux.Demux
	trunks  [2]int
	workers [3]string
	indexes [3]int // of the workers
	sw      [2]*nettest.Port
	far     [3]*nettest.Port
}

// wire makes the interfaces, without a demux.
func wire(t *testing.T) *bed {
	nettest.Enter(t)
	return wireHere(t)
}

// wireHere is for tests which have entered their namespaces already.
func wireHere(t *testing.T) *bed {
	b := &bed{GomegaWithT: NewWithT(t), t: t}
	b.SetDefaultEventuallyTimeout(patience)
	for i := range b.trunks {
		b.trunks[i], _ = nettest.Veth(t, fmt.Sprintf("trunk%d", i), fmt.Sprintf("sw%d", i))
		b.sw[i] = nettest.Open(t, fmt.Sprintf("sw%d", i))
	}
	for i := range b.workers {
		b.workers[i] = fmt.Sprintf("w%d", i)
		b.indexes[i], _ = nettest.Veth(t, b.workers[i], fmt.Sprintf("p%d", i))
		b.far[i] = nettest.Open(t, fmt.Sprintf("p%d", i))
	}
	return b
}

// start makes the interfaces and a demux on both trunks.
func start(t *testing.T, opts demux.Options) *bed {
	nettest.Enter(t)
	return startHere(t, opts)
}

// startHere is for tests which have entered their namespaces already.
func startHere(t *testing.T, opts demux.Options) *bed {
	b := wireHere(t)
	b.demux = b.load(opts)
	for _, trunk := range trunkNames {
		mode, err := b.demux.AttachTrunk(trunk, false)
		b.Expect(err).NotTo(HaveOccurred())
		if opts.Attach == demux.AttachClsact {
			b.Expect(mode).To(Equal(demux.AttachClsact))
		}
	}
	return b
}

func (b *bed) load(opts demux.Options) *demux.Demux {
	b.t.Helper()
	if opts.Capacity == 0 {
		opts.Capacity = 16
	}
	d, err := demux.Load(opts)
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { b.Expect(d.Close()).To(Succeed()) })
	return d
}

func (b *bed) assign(mac demux.MAC, worker int) {
	b.t.Helper()
	b.Expect(b.demux.Assign(mac, b.workers[worker])).To(Succeed())
}

// mac is the address of client n.
func mac(n int) demux.MAC { return demux.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)} }

// gateway is the address of every worker: they do not have to differ.
var gateway = demux.MAC{2, 0xff, 0, 0, 0, 1}

func tag(vid uint16) nettest.Tag { return nettest.Tag{Protocol: 0x8100, TCI: vid} }

func fromClient(n int, tags ...nettest.Tag) nettest.Frame {
	return nettest.Frame{Destination: gateway, Source: mac(n), Tags: tags, Payload: make([]byte, 64)}
}

func toClient(n int, tags ...nettest.Tag) nettest.Frame {
	return nettest.Frame{Destination: mac(n), Source: gateway, Tags: tags, Payload: make([]byte, 80)}
}

// learn lets the demux see client n with the tag on the trunk, and returns once it has counted the frame too.
func (b *bed) learn(trunk, n int, vlan nettest.Tag) {
	b.t.Helper()
	counted := b.client(n).Rx.Packets
	b.sw[trunk].Send(fromClient(n, vlan))
	want := demux.Location{Trunk: b.trunks[trunk], Protocol: vlan.Protocol, TCI: vlan.TCI}
	b.Eventually(func() demux.Location { return b.location(n) }).Should(Equal(want))
	b.Eventually(func() uint64 { return b.client(n).Rx.Packets }).Should(Equal(counted + 1))
}

func (b *bed) location(n int) demux.Location {
	b.t.Helper()
	assignments, err := b.demux.Assignments()
	b.Expect(err).NotTo(HaveOccurred())
	for _, a := range assignments {
		if a.MAC == mac(n) {
			return a.Location
		}
	}
	b.t.Fatalf("client %d is not assigned", n)
	return demux.Location{}
}

func (b *bed) counters() demux.Counters {
	b.t.Helper()
	c, err := b.demux.Counters()
	b.Expect(err).NotTo(HaveOccurred())
	return c
}

func (b *bed) client(n int) demux.ClientCounters {
	b.t.Helper()
	for _, c := range b.counters().Clients {
		if c.MAC == mac(n) {
			return c
		}
	}
	b.t.Fatalf("client %d is not counted", n)
	return demux.ClientCounters{}
}

func (b *bed) flooded(worker int) demux.Tally {
	b.t.Helper()
	for _, c := range b.counters().Workers {
		if c.Worker == b.workers[worker] {
			return c.Flooded
		}
	}
	b.t.Fatalf("worker %d is not counted", worker)
	return demux.Tally{}
}

// drops are those that are not zero.
func (b *bed) drops() map[string]demux.Tally {
	b.t.Helper()
	found := make(map[string]demux.Tally)
	for _, drop := range b.counters().Drops {
		if drop.Tally != (demux.Tally{}) {
			found[drop.Reason.String()] = drop.Tally
		}
	}
	return found
}

// eachMode runs the test with each way to attach that the kernel has, on emulated processors with the newest alone.
func eachMode(t *testing.T, test func(t *testing.T, mode demux.AttachMode)) {
	for _, mode := range []demux.AttachMode{demux.AttachTCX, demux.AttachClsact} {
		ran := false
		t.Run(string(mode), func(t *testing.T) {
			if mode == demux.AttachTCX {
				linux.TCX.Need(t)
			}
			ran = true
			test(t, mode)
		})
		if ran && emulated() {
			return // the other mode has its turn on kernels that have no TCX
		}
	}
}

// many is a number of frames that is high because more of them find more: a tenth on emulated processors.
func many(frames int) int {
	if emulated() {
		return frames / 10
	}
	return frames
}

func tally(frames ...[]byte) (sum demux.Tally) {
	for _, frame := range frames {
		sum.Packets++
		sum.Bytes += uint64(len(frame))
	}
	return sum
}

// window is how many frames may be under way: the kernel drops without a word
// when more than 1000 wait for a CPU (net.core.netdev_max_backlog).
const window = 200

// await returns once all but a window of the sent frames have come in, and
// false if they never do.
func await(port *nettest.Port, sent int) bool {
	deadline := time.Now().Add(patience)
	for port.Count() < sent-window {
		if time.Now().After(deadline) {
			return false
		}
		runtime.Gosched()
	}
	return true
}
