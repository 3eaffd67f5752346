package demux

import (
	"context"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// While a client's entry is replaced by another, a program finds the one or the other, and never none: a hash map puts the new element at the
// head of its chain and then takes the old one out, so that a lookup in between can miss both.
func TestReplacedValuesAreFound(t *testing.T) {
	const worker, elements, maps, replacements = 1, 8, 8, 500
	client := func(n int) MAC { return MAC{2, 0, 0, 0, 0, byte(n)} }
	for range maps { // each has a seed of its own, and the chains that come with it
		g := NewWithT(t)
		d := loadForClients(t, elements)
		assign := func(n int) {
			g.Expect(d.objs.Clients.Put(client(n), &bpfClient{Slot: uint32(n), Worker: worker})).To(Succeed())
		}
		for n := range elements {
			assign(n)
		}
		running := runSteadily(t, d.objs.Virt2phys, worker, nettest.Frame{Destination: client(0), Source: MAC{2, 9}, Payload: make([]byte, 64)})
		for range replacements {
			for n := 1; n < elements; n++ { // to come before the client in its chain
				g.Expect(d.objs.Clients.Delete(client(n))).To(Succeed())
				assign(n)
			}
			assign(0)
			running.wait() // a lookup outlives one replacement at most: Reassign sees to that as well
		}
		running.stop()
		counters, err := d.Counters()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(counters.Drops[bpfDropReasonDROP_UNLEARNED].Packets).NotTo(BeZero(), "frames seen")
		g.Expect(counters.Drops[bpfDropReasonDROP_NOT_ASSIGNED].Packets).To(BeZero(), "frames for which nothing was found")
	}
}

// loadForClients loads the programs with a map of clients that has no more chains than it will have elements.
func loadForClients(t *testing.T, elements uint32) *Demux {
	t.Helper()
	g := NewWithT(t)
	spec, err := loadBpf()
	g.Expect(err).NotTo(HaveOccurred())
	spec.Maps[bpfMapClients].MaxEntries = elements
	d := new(Demux)
	g.Expect(spec.LoadAndAssign(&d.objs, nil)).To(Succeed())
	t.Cleanup(func() { g.Expect(d.objs.Close()).To(Succeed()) })
	return d
}

// steadyRun is a program that runs on one and the same frame all the time.
type steadyRun struct {
	t      *testing.T
	cancel context.CancelFunc
	pauses chan struct{} // taken from between two runs, if somebody waits for it; closed at the end
	err    error         // why it ended, once pauses is closed
}

// runSteadily runs the program as if the frame had come in on the interface, until stop is called.
func runSteadily(t *testing.T, program *ebpf.Program, ifindex uint32, frame nettest.Frame) *steadyRun {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &steadyRun{t: t, cancel: cancel, pauses: make(chan struct{})}
	go func() {
		defer close(r.pauses)
		for ctx.Err() == nil && r.err == nil {
			_, r.err = program.Run(&ebpf.RunOptions{
				Data: frame.Bytes(), Repeat: 1 << 8, Context: [11]uint32{10: ifindex}, // struct __sk_buff up to ifindex
			})
			select {
			case r.pauses <- struct{}{}:
			default:
			}
		}
	}()
	return r
}

// wait returns once the program is not running any more that was running when it was called.
func (r *steadyRun) wait() { <-r.pauses }

func (r *steadyRun) stop() {
	r.t.Helper()
	r.cancel()
	for range r.pauses { // to the end
	}
	NewWithT(r.t).Expect(r.err).To(Succeed())
}
