package demux_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// lastBuilds are the last landed builds of each layout, the last one of all among them: each attaches its BPF objects, which
// testdata has, to trunk0 and w0 as that build did, with client 1 on w0 and a capacity of 4.
var lastBuilds = map[string]func(b *bed, path string, mode demux.AttachMode){
	"first layout":  firstLayout,
	"second layout": func(b *bed, path string, mode demux.AttachMode) { laterLayout(b, path, mode, 2) },
	"third layout":  func(b *bed, path string, mode demux.AttachMode) { laterLayout(b, path, mode, 3) },
	"fourth layout": func(b *bed, path string, mode demux.AttachMode) { laterLayout(b, path, mode, 4) },
	"fifth layout":  func(b *bed, path string, mode demux.AttachMode) { laterLayout(b, path, mode, 5) },
}

const oldCapacity = 4

type oldTally struct{ Packets, Bytes uint64 }

// oldClientTally is the same since the first layout.
type oldClientTally struct{ Rx, Tx oldTally }

// oldCounts are what the programs of a build have counted for client 1 before, on each processor.
func oldCounts() (cpus []oldClientTally) {
	for cpu := range uint64(ebpf.MustPossibleCPU()) {
		cpus = append(cpus, oldClientTally{Rx: oldTally{1000 + cpu, 70_000 + cpu}, Tx: oldTally{2000 + cpu, 150_000 + cpu}})
	}
	return cpus
}

// oldBuild is what a build had loaded. Its maps are pinned.
type oldBuild struct {
	*bed
	*ebpf.Collection
	path string // of the pins
	mode demux.AttachMode
}

// loadOld loads objects with maps of that many entries, without those that were not pinned.
func loadOld(b *bed, spec *ebpf.CollectionSpec, path, maps string, mode demux.AttachMode, entries map[string]uint32, unpinned ...string) oldBuild {
	for name, n := range entries {
		spec.Maps[name].MaxEntries = n
	}
	for _, m := range spec.Maps {
		if m.Name[0] != '.' && !slices.Contains(unpinned, m.Name) { // sections of data begin with a dot
			m.Pinning = ebpf.PinByName
		}
	}
	opts := ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: maps}}
	if section := ".data.policies"; spec.Maps[section] != nil { // since the fourth layout programs have the map as a variable
		policies, err := ebpf.NewMapWithOptions(spec.Maps["policies_map"], opts.Maps)
		b.Expect(err).NotTo(HaveOccurred())
		b.t.Cleanup(func() { b.Expect(policies.Close()).To(Succeed()) })
		opts.MapReplacements = map[string]*ebpf.Map{"policies_map": policies, section: policies}
	}
	objects, err := ebpf.NewCollectionWithOptions(spec, opts)
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(objects.Close)
	return oldBuild{b, objects, path, mode}
}

func (o oldBuild) put(name string, key, value any) {
	o.Expect(o.Maps[name].Put(key, value)).To(Succeed(), name)
}

func (o oldBuild) programID(name string) uint32 {
	info, err := o.Programs[name].Info()
	o.Expect(err).NotTo(HaveOccurred())
	id, _ := info.ID()
	return uint32(id)
}

// attach runs a program on the interface, pinned or as a filter.
func (o oldBuild) attach(ifindex uint32, program string) {
	if o.mode == demux.AttachClsact {
		o.Expect(netlink.QdiscAdd(clsact(int(ifindex)))).To(Succeed())
		o.Expect(netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
			LinkIndex: int(ifindex), Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL,
		}, Fd: o.Programs[program].FD(), Name: "vlandemux/" + program, DirectAction: true})).To(Succeed())
		return
	}
	tcx, err := link.AttachTCX(link.TCXOptions{Interface: int(ifindex), Program: o.Programs[program], Attach: ebpf.AttachTCXIngress})
	o.Expect(err).NotTo(HaveOccurred())
	o.Expect(tcx.Pin(filepath.Join(o.path, "link_"+strconv.Itoa(int(ifindex))))).To(Succeed())
	o.Expect(tcx.Close()).To(Succeed())
}

func firstLayout(b *bed, path string, mode demux.AttachMode) {
	spec, err := ebpf.LoadCollectionSpec("testdata/layout1/bpf_bpfel.o")
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(spec.Variables["capacity"].Set(uint32(oldCapacity))).To(Succeed())
	list, places := spec.Maps["worker_clients"].InnerMap.Copy(), spec.Maps["trunk_places"].InnerMap
	old := loadOld(b, spec, path, path, mode, map[string]uint32{"clients": oldCapacity, "locations": oldCapacity, "client_tallies": oldCapacity,
		"slots": oldCapacity, "worker_clients": 16, "worker_floods": 16, "attachments": 32})
	inner := func(name string, key uint32, spec *ebpf.MapSpec) {
		m, err := ebpf.NewMap(spec)
		b.Expect(err).NotTo(HaveOccurred())
		old.put(name, key, m)
		b.Expect(m.Close()).To(Succeed())
	}
	type attachment struct{ Role, Mode, OwnsQdisc uint32 }
	trunk, worker := uint32(b.trunks[0]), uint32(b.indexes[0])
	inner("trunk_places", trunk, places)
	list.MaxEntries, list.Contents = 1, []ebpf.MapKV{{Key: uint32(0), Value: uint32(2)}}
	inner("worker_clients", worker, list)
	old.put("worker_floods", worker, make([]oldTally, ebpf.MustPossibleCPU()))
	old.put("owners", uint32(0), struct{ Layout, Generation, Releases uint64 }{Layout: 1, Generation: 1})
	old.put("clients", mac(1), struct{ Slot, Worker uint32 }{Slot: 2, Worker: worker})
	old.put("client_tallies", uint32(2), oldCounts())
	record := attachment{Mode: 1}
	if mode == demux.AttachClsact {
		record.Mode, record.OwnsQdisc = 2, 1
	}
	record.Role = 1
	old.put("attachments", trunk, record)
	record.Role = 2
	old.put("attachments", worker, record)
	old.attach(trunk, "phys2virt")
	old.attach(worker, "virt2phys")
}

func laterLayout(b *bed, path string, mode demux.AttachMode, layout uint64) {
	spec, err := ebpf.LoadCollectionSpec(fmt.Sprintf("testdata/layout%d/bpf_bpfel.o", layout))
	b.Expect(err).NotTo(HaveOccurred())
	const (
		buckets = 64
		shift   = 58
		seed    = 0x9e3779b97f4a7c15
		slot    = 2
		number  = 1 // of the worker; the trunk has 0
	)
	for name, value := range map[string]any{"first_seed": uint64(seed), "second_seed": uint64(seed | 2), "bucket_shift": uint32(shift)} {
		b.Expect(spec.Variables[name].Set(value)).To(Succeed())
	}
	maps := filepath.Join(path, "maps_1")
	b.Expect(os.Mkdir(maps, 0o700)).To(Succeed())
	const workers = 1024
	entries := map[string]uint32{"clients": buckets, "locations": oldCapacity, "client_tallies": oldCapacity,
		"slots": oldCapacity, "client_workers": oldCapacity, "counted_places": oldCapacity, "worker_pages": 1 << 16, "place_pages": 1 << 16,
		"worker_numbers": workers, "worker_states": workers + 1, "worker_floods": workers + 1, "devices": workers + 256, "limits": workers + 256,
		"group_clocks": workers + 1}
	if layout >= 3 {
		entries["place_rules"], entries["allowed_places"] = oldCapacity, 1<<16
	}
	stride := os.Getpagesize() / binary.Size(oldClientTally{}) // of each processor's part
	if layout >= 4 {
		entries["client_tallies"] = uint32(stride * ebpf.MustPossibleCPU())
		b.Expect(spec.Variables["tally_stride"].Set(uint32(stride))).To(Succeed())
	}
	address := mac(1)
	word := binary.LittleEndian.Uint64(append(address[:], 0, 0))
	bucket := uint32(word * seed >> shift)
	if layout >= 5 {
		product := word * seed
		bucket = uint32((product ^ product>>32) * (seed | 2) >> shift)
		b.Expect(spec.Variables["capacity"].Set(uint32(oldCapacity))).To(Succeed())
	}
	old := loadOld(b, spec, path, maps, mode, entries,
		"flood_states", "grace_period", "group_clocks", "drop_watch", "drop_rates", "drop_events", "former_locations", "former_clients")
	trunk, worker := uint32(b.trunks[0]), uint32(b.indexes[0])
	old.put("clients", bucket, [4]struct{ Key, Value uint64 }{{word, slot | uint64(worker)<<32}})
	old.put("client_workers", uint32(slot), uint64(number))
	if layout < 4 {
		old.put("client_tallies", uint32(slot), oldCounts())
	} else {
		for cpu, counts := range oldCounts() {
			old.put("client_tallies", uint32(cpu*stride+slot), counts)
		}
	}
	old.put("worker_states", uint32(number), uint64(1))
	old.put("settings_map", uint32(0), uint64(1)) // trunks
	old.put("trunk_indexes", uint32(0), trunk)
	old.put("trunk_numbers", trunk, uint32(0))
	old.put("worker_numbers", worker, uint32(number))
	const limit = 9000 + 18
	old.put("limits", trunk, uint32(limit))
	old.put("limits", worker, uint32(limit))
	old.put("policies_map", uint32(0), struct{ Worker, Trunk, DefaultWorker, Reserved uint32 }{Worker: limit, Trunk: limit})
	type device struct {
		Ifindex, Number, Role, Mode, OwnsQdisc, Flags uint32
		Flooded                                       oldTally
	}
	record := device{Ifindex: trunk, Role: 1, Mode: 1}
	if mode == demux.AttachClsact {
		record.Mode, record.OwnsQdisc = 2, 1
	}
	old.put("devices", [16]byte{'t', 'r', 'u', 'n', 'k', '0'}, record)
	record.Ifindex, record.Number, record.Role = worker, number, 2
	old.put("devices", [16]byte{'w', '0'}, record)
	cookie, err := unix.GetsockoptUint64(socketHere(b), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	b.Expect(err).NotTo(HaveOccurred())
	old.put("owners", uint32(0), struct {
		Layout, Generation, Releases uint64
		Seeds                        [2]uint64
		Netns, Options               uint64
		Programs                     [4]uint32
		EventsLost, PlacesLost       uint64
		Passed                       oldTally
		Drops                        [32]oldTally
		OlderPrograms                [12]uint32
	}{Layout: layout, Generation: 1, Seeds: [2]uint64{seed, seed | 2}, Netns: cookie, Programs: [4]uint32{old.programID("phys2virt"), old.programID("virt2phys")}})
	old.attach(trunk, "phys2virt")
	old.attach(worker, "virt2phys")
}

// socketHere is any socket of the network namespace.
func socketHere(b *bed) int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// A build with other maps takes over from the last one under traffic: no frame is lost, and no counter, assignment or
// location set back.
func TestUpgradeFromTheLastBuild(t *testing.T) {
	for name, build := range lastBuilds {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, mode demux.AttachMode) { upgradeFrom(t, mode, build) })
		})
	}
}

func upgradeFrom(t *testing.T, mode demux.AttachMode, build func(*bed, string, demux.AttachMode)) {
	b, path := startOld(t, mode, build)
	b.far[0].Send(toClient(2))

	sent := b.traffic(b.far[0], b.sw[0], func() {
		var err error
		b.demux, err = demux.Load(demux.Options{Attach: mode, PinPath: path})
		b.Expect(err).NotTo(HaveOccurred())
	})
	b.countsOn(sent+1, sent+1)
	b.Expect(b.demux.Options().Capacity).To(Equal(oldCapacity), "remembered")
	b.Expect(b.location(1)).To(Equal(demux.Location{Trunk: b.trunks[0], Protocol: 0x8100, TCI: 5}))
	b.Expect(b.drops()).To(HaveKeyWithValue("not_assigned", tally(toClient(2).Bytes())))
	b.Expect(b.events(1)).To(HaveLen(1), "the event waited for a reader")
	group := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}
	before := b.sw[0].Count()
	b.far[0].Send(group)
	b.Eventually(b.sw[0].Count).Should(Equal(before + 1))

	// And to another capacity, and to nothing.
	b.Expect(b.demux.Close()).To(Succeed())
	b.demux = b.load(demux.Options{Attach: mode, PinPath: path, Capacity: 5000})
	b.countsOn(sent+1, sent+1)
	b.Expect(b.flooded(0).Packets).To(BeEquivalentTo(1))
	b.Expect(b.location(1).VID()).To(BeEquivalentTo(5))
	b.Expect(b.demux.Detach()).To(Succeed())
	b.Expect(path).NotTo(BeAnExistingFile())
	b.Expect(tcState(b)).To(BeEmpty())
}

// startOld runs a build through which client 1 has sent one frame, and got one.
func startOld(t *testing.T, mode demux.AttachMode, build func(*bed, string, demux.AttachMode)) (b *bed, path string) {
	nettest.Enter(t)
	path = filepath.Join(nettest.BPFFS(t), "demux")
	NewWithT(t).Expect(os.Mkdir(path, 0o700)).To(Succeed())
	b = wireHere(t)
	build(b, path, mode)
	b.sw[0].Send(fromClient(1, tag(5)))
	b.Eventually(b.far[0].Count).Should(Equal(1), "through the programs of that build")
	b.far[0].Send(toClient(1))
	b.Eventually(b.sw[0].Count).Should(Equal(1))
	return b, path
}

// countsOn expects that client 1 has so many frames more than a build had counted before.
func (b *bed) countsOn(rx, tx int) {
	b.t.Helper()
	want := demux.ClientCounters{MAC: mac(1), Worker: b.workers[0], Location: b.location(1),
		Rx: times(tally(fromClient(1, tag(5)).Bytes()), rx), Tx: times(tally(toClient(1, tag(5)).Bytes()), tx)}
	for _, cpu := range oldCounts() {
		want.Rx.Packets, want.Rx.Bytes = want.Rx.Packets+cpu.Rx.Packets, want.Rx.Bytes+cpu.Rx.Bytes
		want.Tx.Packets, want.Tx.Bytes = want.Tx.Packets+cpu.Tx.Packets, want.Tx.Bytes+cpu.Tx.Bytes
	}
	b.Eventually(func() demux.ClientCounters { return b.client(1) }).Should(Equal(want))
}

// A build with other maps is killed while it takes over from the last one: the worker has its program, the trunk has not. What
// either counts is counted on by the next build, which may be killed too.
func TestKilledUpgradeFromTheLastBuild(t *testing.T) {
	linux.TCX.Need(t)
	for name, build := range lastBuilds {
		for _, capacities := range [][]int{{0, 0}, {0, 5000}, {0, 5000, 5000}, {0, 5000, 0}} {
			t.Run(fmt.Sprint(name, capacities), func(t *testing.T) {
				b, path := startOld(t, demux.AttachTCX, build)
				pin := filepath.Join(path, fmt.Sprintf("link_%d", b.trunks[0]))
				b.Expect(os.Rename(pin, pin+"_away")).To(Succeed())
				stone, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
				b.Expect(err).NotTo(HaveOccurred())
				b.Expect(stone.Pin(pin)).To(Succeed())
				last := len(capacities) - 1
				for n, capacity := range capacities[:last] {
					_, err := demux.Load(demux.Options{PinPath: path, Capacity: capacity})
					b.Expect(err).To(MatchError(ContainSubstring("link_")), "the pin of the trunk's program is none")
					b.sw[0].Send(fromClient(1, tag(5))) // by that build's program still
					b.Eventually(b.far[0].Count).Should(Equal(n + 2))
					b.far[0].Send(toClient(1))
					b.Eventually(b.sw[0].Count).Should(Equal(n + 2))
				}
				b.Expect(stone.Unpin()).To(Succeed())
				b.Expect(os.Rename(pin+"_away", pin)).To(Succeed())
				b.demux, err = demux.Load(demux.Options{PinPath: path, Capacity: capacities[last]})
				b.Expect(err).NotTo(HaveOccurred())
				b.t.Cleanup(func() { b.Expect(b.demux.Close()).To(Succeed()) })
				b.countsOn(last+1, last+1)
				b.alone(path)
			})
		}
	}
}

// What the programs use is there for the next process: all maps but those that each process makes anew.
func TestTheMapsOfTheProgramsArePinned(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path})
	b.assign(mac(1), 0)
	pinned := make(map[ebpf.MapID]bool)
	entries, err := os.ReadDir(filepath.Join(path, "maps_1"))
	b.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		m, err := ebpf.LoadPinnedMap(filepath.Join(path, "maps_1", entry.Name()), nil)
		b.Expect(err).NotTo(HaveOccurred(), entry.Name())
		info, err := m.Info()
		b.Expect(errors.Join(err, m.Close())).To(Succeed())
		id, _ := info.ID()
		pinned[id] = true
	}
	var anew []string
	for _, ifindex := range []int{b.trunks[0], b.indexes[0]} {
		for _, id := range mapsOn(b, ifindex) {
			if pinned[id] {
				continue
			}
			m, err := ebpf.NewMapFromID(id)
			b.Expect(err).NotTo(HaveOccurred())
			info, err := m.Info()
			b.Expect(errors.Join(err, m.Close())).To(Succeed())
			anew = append(anew, info.Name)
		}
	}
	slices.Sort(anew)
	b.Expect(slices.Compact(anew)).To(Equal([]string{".rodata", "drop_events", "drop_rates", "drop_watch", "flood_states", "former_clients", "former_location", "group_clocks"}))
}

// mapsOn are those that the programs on an interface use.
func mapsOn(b *bed, ifindex int) (all []ebpf.MapID) {
	programs, err := tchook.Programs(&netlink.Handle{}, ifindex)
	b.Expect(err).NotTo(HaveOccurred())
	for _, id := range programs {
		program, err := ebpf.NewProgramFromID(id)
		b.Expect(err).NotTo(HaveOccurred())
		info, err := program.Info()
		b.Expect(errors.Join(err, program.Close())).To(Succeed())
		used, _ := info.MapIDs()
		all = append(all, used...)
	}
	return all
}

func times(one demux.Tally, n int) demux.Tally {
	return demux.Tally{Packets: one.Packets * uint64(n), Bytes: one.Bytes * uint64(n)}
}
