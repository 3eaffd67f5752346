package demux_test

import (
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
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

// Counters of one client are written by several CPUs at once.
func TestCountsConcurrentSenders(t *testing.T) {
	b := start(t, demux.Options{})
	const senders, frames = 4, 20000
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
