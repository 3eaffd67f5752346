package demux_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// A full demux: assigned in one go, flooded to 4094 places, taken over.
func TestFullCapacity(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	opts := demux.Options{Capacity: 4096, PinPath: path}
	b := startHere(t, opts)
	var list []demux.Assignment
	for n := range opts.Capacity {
		list = append(list, demux.Assignment{MAC: mac(n), Worker: b.workers[n%2]})
	}
	began := time.Now()
	b.Expect(b.demux.AssignAll(list)).To(Succeed())
	t.Logf("assigned %d clients in %v", len(list), time.Since(began))
	b.far[0].CountOnly()
	b.sw[0].CountOnly()
	sent := 0
	for n := 0; n < 4095; n += 2 { // the clients of worker 0
		b.sw[0].Send(fromClient(n, tag(uint16(n))))
		sent++
		b.Expect(await(b.far[0], sent)).To(BeTrue())
	}
	b.Eventually(b.far[0].Count).Should(Equal(sent))
	b.far[0].Send(nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)})
	b.Eventually(func() uint64 {
		return b.flooded(0).Packets + b.drops()["copy_failed"].Packets
	}).Should(BeEquivalentTo(sent))

	b.Expect(b.demux.Close()).To(Succeed())
	began = time.Now()
	b.demux = b.load(opts)
	t.Logf("taken over in %v", time.Since(began))
	assignments, err := b.demux.Assignments()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(assignments).To(HaveLen(opts.Capacity))
	b.Expect(b.demux.Assign(demux.MAC{2, 1}, b.workers[0])).To(MatchError(demux.ErrFull))
}

// A change waits for running programs once, however many workers it lets go, and not at all where the kernel has waited
// because it took TCX links off. Here each wait fails, and so can be counted.
func TestManyWorkersAreLetGoWithOneWait(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		const workers = 10
		b := start(t, demux.Options{Attach: mode, Capacity: workers})
		var all []demux.Assignment
		var macs []demux.MAC
		for n := range workers {
			name := fmt.Sprint("v", n)
			nettest.Veth(t, name, fmt.Sprint("u", n))
			all, macs = append(all, demux.Assignment{MAC: mac(n), Worker: name}), append(macs, mac(n))
		}
		b.Expect(b.demux.AssignAll(all)).To(Succeed())
		end := demux.FailWaits(b.demux)
		err := b.demux.UnassignAll(macs)
		end()
		b.Expect(strings.Count(fmt.Sprint(err), "waiting for running programs")).To(Equal(map[demux.AttachMode]int{demux.AttachTCX: 0, demux.AttachClsact: 1}[mode]))
		b.Expect(b.demux.Workers()).To(BeEmpty())
	})
}
