package demux_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// watchDrops returns what is told from when it returns until stop is called.
func (b *bed) watchDrops() (told <-chan demux.Drop, stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	drops, began, ended := make(chan demux.Drop, 1000), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- b.demux.ReadDrops(ctx, func() { close(began) }, func(d demux.Drop) error {
			drops <- d
			return nil
		})
	}()
	b.Eventually(began).Should(BeClosed())
	return drops, func() {
		cancel()
		b.Eventually(ended).Should(Receive(Succeed()))
	}
}

// told is the next drop, without its time.
func (b *bed) told(from <-chan demux.Drop) (told demux.Drop) {
	b.t.Helper()
	b.Eventually(from).Should(Receive(&told))
	b.Expect(told.Time).To(BeTemporally("~", time.Now(), 10*time.Second))
	told.Time = time.Time{}
	return told
}

func TestDropsAreToldWithMACPlaceAndReason(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		b := start(t, demux.Options{Attach: mode})
		b.assign(mac(1), 0)
		b.assign(mac(2), 1)
		b.learn(0, 1, tag(5))
		drops, stop := b.watchDrops()
		defer stop()
		at := demux.Location{Trunk: b.trunks[1], Protocol: 0x88a8, TCI: 7<<13 | 9}
		for _, c := range []struct {
			from  *nettest.Port
			frame nettest.Frame
			want  demux.Drop
		}{
			{b.sw[1], fromClient(9, nettest.Tag{Protocol: 0x88a8, TCI: 7<<13 | 9}), demux.Drop{Reason: demux.DropUnknownClient, MAC: mac(9), Interface: b.trunks[1], Place: at}},
			{b.sw[0], fromClient(9), demux.Drop{Reason: demux.DropUntagged, MAC: mac(9), Interface: b.trunks[0]}},
			{b.far[1], toClient(2), demux.Drop{Reason: demux.DropUnlearned, MAC: mac(2), Interface: b.indexes[1]}},
			{b.far[1], toClient(1), demux.Drop{Reason: demux.DropNotAssigned, MAC: mac(1), Interface: b.indexes[1]}},
			{b.far[1], nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)},
				demux.Drop{Reason: demux.DropUnlearned, MAC: broadcast, Interface: b.indexes[1]}},
		} {
			c.from.Send(c.frame)
			c.want.Packets = 1
			b.Expect(b.told(drops)).To(Equal(c.want))
		}
		b.Expect(b.demux.DetachWorker(b.workers[0])).To(Succeed())
		b.sw[0].Send(fromClient(1, tag(5)))
		b.Expect(b.told(drops)).To(Equal(demux.Drop{Reason: demux.DropUnknownClient, MAC: mac(1), Interface: b.trunks[0], Packets: 1,
			Place: demux.Location{Trunk: b.trunks[0], Protocol: 0x8100, TCI: 5}}))
	})
}

// Nothing is told unless somebody watches, and a watch begins without what was dropped before.
func TestDropsAreToldToWhoWatches(t *testing.T) {
	b := start(t, demux.Options{})
	for range 2 {
		dropped := func() uint64 { return b.drops()["unknown_client"].Packets }
		before := dropped()
		b.sw[0].Send(fromClient(9, tag(5)))
		b.sw[0].Send(fromClient(9, tag(5)))
		b.Eventually(dropped).Should(Equal(before + 2))
		drops, stop := b.watchDrops()
		b.sw[0].Send(fromClient(8, tag(5)))
		b.Expect(b.told(drops)).To(HaveField("MAC", mac(8)))
		b.sw[0].Send(fromClient(9, tag(5)))
		b.Expect(b.told(drops)).To(And(HaveField("MAC", mac(9)), HaveField("Packets", uint64(1))))
		stop()
	}
}

// A MAC that is dropped all the time is one line a second, which has the frames of that second; all
// MACs together are some hundred lines a second.
func TestDropsAreToldOnceASecond(t *testing.T) {
	b := start(t, demux.Options{})
	drops, stop := b.watchDrops()
	defer stop()
	dropped := func() uint64 { return b.drops()["unknown_client"].Packets }
	var sent, packets uint64
	lines := 0
	accounted := func() (uint64, error) {
		for len(drops) > 0 {
			packets += (<-drops).Packets
			lines++
		}
		_, untold, err := demux.DropsTold(b.demux)
		return packets + untold, err
	}
	begin := time.Now()
	for lines < 3 {
		b.sw[0].Send(fromClient(9, tag(5)))
		sent++
		b.Eventually(dropped).Should(Equal(sent))
		_, err := accounted()
		b.Expect(err).NotTo(HaveOccurred())
	}
	b.Expect(time.Since(begin)).To(BeNumerically(">=", 2*time.Second))
	b.Eventually(accounted).Should(Equal(sent), "what is told stands for all frames until then")

	begin, lines = time.Now(), 0
	const macs = 2000
	for n := range macs {
		b.sw[1].Send(fromClient(1000+n, tag(6)))
		if n%window == 0 {
			b.Eventually(dropped).Should(BeNumerically(">=", sent))
		}
		sent++
	}
	b.Eventually(dropped).Should(Equal(sent))
	b.Eventually(accounted).Should(Equal(sent))
	b.Expect(lines).To(And(BeNumerically(">=", 90), BeNumerically("<=", 101+int(100*time.Since(begin).Seconds()))))
}

// A watcher that is killed renews nothing: a while later nothing is told any more.
func TestDropsEndWithTheLease(t *testing.T) {
	b := start(t, demux.Options{})
	b.Expect(demux.LeaseDrops(b.demux, time.Nanosecond)).To(Succeed())
	b.sw[0].Send(fromClient(9, tag(5)))
	b.Eventually(func() uint64 { return b.drops()["unknown_client"].Packets }).Should(BeEquivalentTo(1))
	macs, _, err := demux.DropsTold(b.demux)
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(macs).To(BeZero())
	b.Expect(demux.LeaseDrops(b.demux, time.Minute)).To(Succeed())
	b.sw[0].Send(fromClient(9, tag(5)))
	b.Eventually(func() (int, error) { macs, _, err := demux.DropsTold(b.demux); return macs, err }).Should(Equal(1))
}

func TestReadDropsEnds(t *testing.T) {
	b := start(t, demux.Options{})
	ended := make(chan error)
	began := make(chan struct{})
	go func() {
		ended <- b.demux.ReadDrops(t.Context(), func() { close(began) }, func(demux.Drop) error { return nil })
	}()
	b.Eventually(began).Should(BeClosed())
	b.Expect(b.demux.Close()).To(Succeed())
	b.Eventually(ended).Should(Receive(MatchError(demux.ErrClosed)))
	b.Expect(b.demux.ReadDrops(t.Context(), func() { t.Error("began") }, nil)).To(MatchError(demux.ErrClosed))
}
