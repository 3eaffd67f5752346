package demux

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/internal/nettest"
)

// While values of hash maps are replaced by others, a program finds the one or the other, and never none: a hash map puts the new element at the
// head of its chain and then takes the old one out, so that a lookup in between can miss both.
func TestReplacedValuesAreFound(t *testing.T) {
	const lo, elements, maps = 1, 8, 8
	client := func(n int) MAC { return MAC{2, 0, 0, 0, 0, byte(n)} }
	assign := func(d *Demux, n int) error {
		return d.objs.Clients.Put(client(n), &bpfClient{Slot: uint32(n), Worker: lo})
	}
	publishOthers := func(d *Demux, slots []uint32) error {
		var group errgroup.Group
		for n := uint32(1); n < elements; n++ {
			group.Go(func() error { return d.publishList(lo+n, slots) })
		}
		return group.Wait()
	}
	tests := []struct {
		name         string
		destination  MAC
		replacements int
		replace      func(d *Demux) error // that of element 0, after the others have come before it in their chains
	}{
		{"client", client(0), 200, func(d *Demux) error {
			for n := 1; n < elements; n++ {
				if err := errors.Join(d.objs.Clients.Delete(client(n)), assign(d, n)); err != nil {
					return err
				}
			}
			return errors.Join(assign(d, 0), waitForPrograms())
		}},
		{"list of clients", MAC{255, 255, 255, 255, 255, 255}, 50, func(d *Demux) error {
			return errors.Join(publishOthers(d, nil), publishOthers(d, []uint32{0}), d.publishList(lo, []uint32{0}))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for range maps { // each has a seed of its own, and the chains that come with it
				g := NewWithT(t)
				d := loadWithFullMaps(t, elements)
				for n := range elements {
					g.Expect(assign(d, n)).To(Succeed())
					g.Expect(d.publishList(lo+uint32(n), []uint32{0})).To(Succeed())
				}
				stop := runSteadily(t, d.objs.Virt2phys, lo, nettest.Frame{Destination: test.destination, Source: MAC{2, 9}, Payload: make([]byte, 64)})
				for range test.replacements {
					g.Expect(test.replace(d)).To(Succeed())
				}
				stop()
				counters, err := d.Counters()
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(counters.Drops[bpfDropReasonDROP_UNLEARNED].Packets).NotTo(BeZero(), "frames seen")
				g.Expect(counters.Drops[bpfDropReasonDROP_NOT_ASSIGNED].Packets).To(BeZero(), "frames for which nothing was found")
			}
		})
	}
}

// loadWithFullMaps loads the programs with hash maps that have no more chains than they will have elements.
func loadWithFullMaps(t *testing.T, elements uint32) *Demux {
	t.Helper()
	g := NewWithT(t)
	spec, err := loadBpf()
	g.Expect(err).NotTo(HaveOccurred())
	for _, name := range []string{bpfMapClients, bpfMapLocations, bpfMapClientTallies, bpfMapSlots, bpfMapWorkerClients, bpfMapWorkerFloods} {
		spec.Maps[name].MaxEntries = elements
	}
	g.Expect(spec.Variables[bpfVarCapacity].Set(elements)).To(Succeed())
	d := &Demux{listSpec: spec.Maps[bpfMapWorkerClients].InnerMap}
	g.Expect(spec.LoadAndAssign(&d.objs, nil)).To(Succeed())
	t.Cleanup(func() { g.Expect(d.objs.Close()).To(Succeed()) })
	return d
}

// runSteadily runs the program on one and the same frame, as if it had come in on the interface, until what it returns is called.
func runSteadily(t *testing.T, program *ebpf.Program, ifindex uint32, frame nettest.Frame) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			_, err = program.Run(&ebpf.RunOptions{
				Data: frame.Bytes(), Repeat: 1 << 16, Context: [11]uint32{10: ifindex}, // struct __sk_buff up to ifindex
			})
		}
		ended <- err
	}()
	return func() {
		cancel()
		NewWithT(t).Expect(<-ended).To(Succeed())
	}
}

// waitForPrograms returns once every program that is running has ended.
func waitForPrograms() error {
	const global = 1 // MEMBARRIER_CMD_GLOBAL: an RCU grace period
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); errno != 0 {
		return fmt.Errorf("waiting for programs: %w", errno)
	}
	return nil
}
