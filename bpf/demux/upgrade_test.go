package demux_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// As the first layout had them, see testdata/layout1: the BPF objects of the last release with it.
type (
	firstClient     struct{ Slot, Worker uint32 }
	firstAttachment struct{ Role, Mode, OwnsQdisc uint32 }
	firstOwner      struct{ Layout, Generation, Releases uint64 }
	firstTally      struct{ Packets, Bytes uint64 }
)

// firstLayout attaches the programs of the first layout to trunk0 and w0 as that release did, with client 1 on w0.
func firstLayout(b *bed, path string, mode demux.AttachMode) {
	spec, err := ebpf.LoadCollectionSpec("testdata/layout1/bpf_bpfel.o")
	b.Expect(err).NotTo(HaveOccurred())
	const capacity = 4
	for name, entries := range map[string]uint32{"clients": capacity, "locations": capacity, "client_tallies": capacity,
		"slots": capacity, "worker_clients": 16, "worker_floods": 16, "attachments": 32} {
		spec.Maps[name].MaxEntries = entries
	}
	b.Expect(spec.Variables["capacity"].Set(uint32(capacity))).To(Succeed())
	for _, m := range spec.Maps {
		if m.Name[0] != '.' { // sections of data
			m.Pinning = ebpf.PinByName
		}
	}
	list, places := spec.Maps["worker_clients"].InnerMap.Copy(), spec.Maps["trunk_places"].InnerMap
	objects, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: path}})
	b.Expect(err).NotTo(HaveOccurred())
	defer objects.Close()
	put := func(name string, key, value any) { b.Expect(objects.Maps[name].Put(key, value)).To(Succeed(), name) }
	inner := func(name string, key uint32, spec *ebpf.MapSpec) {
		m, err := ebpf.NewMap(spec)
		b.Expect(err).NotTo(HaveOccurred())
		put(name, key, m)
		b.Expect(m.Close()).To(Succeed())
	}
	trunk, worker := uint32(b.trunks[0]), uint32(b.indexes[0])
	inner("trunk_places", trunk, places)
	list.MaxEntries, list.Contents = 1, []ebpf.MapKV{{Key: uint32(0), Value: uint32(2)}}
	inner("worker_clients", worker, list)
	put("worker_floods", worker, make([]firstTally, ebpf.MustPossibleCPU()))
	put("owners", uint32(0), firstOwner{Layout: 1, Generation: 1})
	put("clients", mac(1), firstClient{Slot: 2, Worker: worker})
	for role, at := range map[uint32]struct {
		ifindex uint32
		program string
	}{1: {trunk, "phys2virt"}, 2: {worker, "virt2phys"}} {
		program := objects.Programs[at.program]
		record := firstAttachment{Role: role, Mode: 1}
		if mode == demux.AttachClsact {
			record.Mode, record.OwnsQdisc = 2, 1
			b.Expect(netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: int(at.ifindex), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
			}})).To(Succeed())
			b.Expect(netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
				LinkIndex: int(at.ifindex), Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL,
			}, Fd: program.FD(), Name: "vlandemux/" + at.program, DirectAction: true})).To(Succeed())
		} else {
			tcx, err := link.AttachTCX(link.TCXOptions{Interface: int(at.ifindex), Program: program, Attach: ebpf.AttachTCXIngress})
			b.Expect(err).NotTo(HaveOccurred())
			b.Expect(tcx.Pin(filepath.Join(path, "link_"+strconv.Itoa(int(at.ifindex))))).To(Succeed())
			b.Expect(tcx.Close()).To(Succeed())
		}
		put("attachments", at.ifindex, record)
	}
}

// A build with other maps takes over from the last one under traffic: no frame is lost, and no counter, assignment or
// location set back.
func TestUpgradeFromTheFirstLayout(t *testing.T) {
	eachMode(t, func(t *testing.T, mode demux.AttachMode) {
		if mode == demux.AttachTCX {
			linux.TCX.Need(t)
		}
		nettest.Enter(t)
		path := filepath.Join(nettest.BPFFS(t), "demux")
		NewWithT(t).Expect(os.Mkdir(path, 0o700)).To(Succeed())
		b := wireHere(t)
		firstLayout(b, path, mode)
		b.sw[0].Send(fromClient(1, tag(5)))
		b.Eventually(b.far[0].Count).Should(Equal(1), "through the programs of the first layout")
		b.far[0].Send(toClient(1))
		b.Eventually(b.sw[0].Count).Should(Equal(1))
		b.far[0].Send(toClient(2))

		sent := b.traffic(b.far[0], b.sw[0], func() {
			var err error
			b.demux, err = demux.Load(demux.Options{Attach: mode, PinPath: path})
			b.Expect(err).NotTo(HaveOccurred())
		})
		b.Eventually(func() uint64 { return b.client(1).Rx.Packets }).Should(BeEquivalentTo(sent + 1))
		b.Eventually(func() uint64 { return b.client(1).Tx.Packets }).Should(BeEquivalentTo(sent + 1))
		b.Expect(b.demux.Capacity()).To(Equal(4), "remembered")
		b.Expect(b.location(1)).To(Equal(demux.Location{Trunk: b.trunks[0], Protocol: 0x8100, TCI: 5}))
		b.Expect(b.client(1)).To(Equal(demux.ClientCounters{MAC: mac(1), Worker: b.workers[0], Location: b.location(1),
			Rx: times(tally(fromClient(1, tag(5)).Bytes()), sent+1), Tx: times(tally(toClient(1, tag(5)).Bytes()), sent+1)}))
		b.Expect(b.drops()).To(HaveKeyWithValue("not_assigned", tally(toClient(2).Bytes())))
		b.Expect(b.events(1)).To(HaveLen(1), "the event waited for a reader")
		group := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}
		before := b.sw[0].Count()
		b.far[0].Send(group)
		b.Eventually(b.sw[0].Count).Should(Equal(before + 1))

		// And to another capacity, and to nothing.
		b.Expect(b.demux.Close()).To(Succeed())
		b.demux = b.load(demux.Options{Attach: mode, PinPath: path, Capacity: 5000})
		b.Expect(b.client(1).Rx.Packets).To(BeEquivalentTo(sent + 1))
		b.Expect(b.flooded(0).Packets).To(BeEquivalentTo(1))
		b.Expect(b.location(1).VID()).To(BeEquivalentTo(5))
		b.Expect(b.demux.Detach()).To(Succeed())
		b.Expect(path).NotTo(BeAnExistingFile())
		b.Expect(tcState(b)).To(BeEmpty())
	})
}

func times(one demux.Tally, n int) demux.Tally {
	return demux.Tally{Packets: one.Packets * uint64(n), Bytes: one.Bytes * uint64(n)}
}
