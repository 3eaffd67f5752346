package demux_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

func TestCountsEverySize(t *testing.T) {
	b := start(t, demux.Options{})
	b.assign(mac(1), 0)
	var rx, tx demux.Tally
	for size := 60; size <= 9014; size += 75 {
		in, out := fromClient(1, tag(7)), toClient(1)
		in.Payload, out.Payload = make([]byte, size-14), make([]byte, size-14)
		b.sw[0].Send(in)
		b.far[0].Send(out)
		rx.Packets, rx.Bytes = rx.Packets+1, rx.Bytes+uint64(size+4)
		tx.Packets, tx.Bytes = tx.Packets+1, tx.Bytes+uint64(size+4)
	}
	b.Eventually(func() demux.Tally { return b.client(1).Rx }).Should(Equal(rx))
	b.Eventually(func() demux.Tally { return b.client(1).Tx }).Should(Equal(tx))
	b.Eventually(b.far[0].Count).Should(BeEquivalentTo(rx.Packets))
	b.Eventually(b.sw[0].Octets).Should(BeEquivalentTo(tx.Bytes))
	b.Expect(b.drops()).To(BeEmpty())
}

// pinnedMap is what the values of a pinned array map are made of.
func pinnedMap[T any](b *bed, path ...string) []T {
	b.t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(path...), nil)
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { b.Expect(m.Close()).To(Succeed()) })
	parts, err := demux.Mapped[T](m)
	b.Expect(err).NotTo(HaveOccurred())
	return parts
}

// clientTallies are what each possible processor has counted, by slot.
func (b *bed) clientTallies(path ...string) (cpus [][]oldClientTally) {
	tallies := pinnedMap[oldClientTally](b, append(path, "client_tallies")...)
	return slices.Collect(slices.Chunk(tallies, len(tallies)/ebpf.MustPossibleCPU()))
}

// Each processor has its own counters of each client, in pages that no other writes. All are counted, and taken along
// to maps of another size.
func TestEachProcessorCountsForItself(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	capacity := os.Getpagesize() / binary.Size(oldClientTally{}) // a page has no room for more
	b := startHere(t, demux.Options{PinPath: path, Capacity: capacity})
	var all []demux.Assignment
	for n := range capacity {
		all = append(all, demux.Assignment{MAC: mac(n), Worker: b.workers[0]})
	}
	b.Expect(b.demux.AssignAll(all)).To(Succeed())
	b.far[0].CountOnly()
	var allowed unix.CPUSet
	b.Expect(unix.SchedGetaffinity(0, &allowed)).To(Succeed())
	sent, each := 0, uint64(0)
	for cpu := range ebpf.MustPossibleCPU() {
		if !allowed.IsSet(cpu) {
			continue
		}
		var one unix.CPUSet
		one.Set(cpu)
		b.Expect(unix.SchedSetaffinity(0, &one)).To(Succeed())
		for range cpu + 1 {
			for n := range capacity {
				b.sw[0].Send(fromClient(n, tag(5)))
				sent++
				b.Expect(await(b.far[0], sent)).To(BeTrue())
			}
			each++
		}
	}
	b.Eventually(b.far[0].Count).Should(Equal(sent))
	b.Expect(unix.SchedSetaffinity(0, &allowed)).To(Succeed())
	for cpu, tallies := range b.clientTallies(path, "maps_1") {
		b.Expect(tallies).To(HaveLen(capacity))
		for slot := range tallies {
			if allowed.IsSet(cpu) {
				b.Expect(tallies[slot].Rx.Packets).To(BeEquivalentTo(cpu+1), "processor %d, slot %d", cpu, slot)
			}
		}
	}
	counted := func() {
		b.Expect(b.counters().Clients).To(HaveLen(capacity))
		for _, c := range b.counters().Clients {
			b.Expect(c.Rx.Packets).To(Equal(each), "client %s", c.MAC)
		}
	}
	counted()
	b.demux = b.load(demux.Options{PinPath: path, Capacity: capacity + 1})
	counted()
	b.Expect(b.clientTallies(path, "maps_2")).To(HaveEach(HaveLen(2 * capacity)))
}

// Counters of one client are written by several CPUs at once.
func TestCountsConcurrentSenders(t *testing.T) {
	b := start(t, demux.Options{})
	const senders = 4
	frames := many(20_000)
	for n := range senders {
		b.assign(mac(n), n%2)
	}
	for _, port := range append(b.far[:], b.sw[:]...) {
		port.CountOnly()
	}
	b.learn(0, 0, tag(5))
	base := b.client(0).Rx.Packets
	var group sync.WaitGroup
	var total atomic.Int64
	for n := range senders {
		group.Go(func() {
			in, out := fromClient(n, tag(5)).Bytes(), toClient(0).Bytes()
			for i := range frames {
				b.Expect(b.sw[n%2].SendRaw(nettest.GSO{}, in)).To(Succeed())
				b.Expect(b.far[0].SendRaw(nettest.GSO{}, out)).To(Succeed())
				sent := int(total.Add(1))
				if i%50 == 0 {
					b.Expect(await(b.sw[0], sent)).To(BeTrue())
				}
			}
		})
	}
	group.Wait()
	size := uint64(len(fromClient(0, tag(5)).Bytes()))
	for n := range senders {
		want := uint64(frames)
		if n == 0 {
			want += base
		}
		b.Eventually(func() demux.Tally { return b.client(n).Rx }).Should(Equal(demux.Tally{Packets: want, Bytes: want * size}))
	}
	b.Eventually(func() uint64 { return b.client(0).Tx.Packets }).Should(BeEquivalentTo(senders * frames))
	b.Expect(b.drops()).To(BeEmpty())
}
