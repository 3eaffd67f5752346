package demux_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// laterBuilds follow one that was killed while it took over to a capacity of 32.
var laterBuilds = map[string]struct {
	capacity int
	change   func(b *bed, path string) // of the killed build's maps, so that they are not the later one's
	killed   bool                      // while it takes over, too
}{
	"the same":                     {capacity: 32, change: func(*bed, string) {}},
	"another capacity":             {capacity: 48, change: func(*bed, string) {}},
	"another capacity, killed too": {capacity: 48, change: func(*bed, string) {}, killed: true},
	"other maps":                   {capacity: 32, change: otherDevices},
}

// otherDevices gives the map of devices, which no program uses, another size.
func otherDevices(b *bed, path string) {
	pin := filepath.Join(path, "maps_2", "devices")
	devices, err := ebpf.LoadPinnedMap(pin, nil)
	b.Expect(err).NotTo(HaveOccurred())
	other, err := ebpf.NewMap(&ebpf.MapSpec{Type: devices.Type(), KeySize: devices.KeySize(), ValueSize: devices.ValueSize(),
		MaxEntries: devices.MaxEntries() + 1, Flags: devices.Flags()})
	b.Expect(err).NotTo(HaveOccurred())
	var key, value []byte
	for entry := devices.Iterate(); entry.Next(&key, &value); {
		b.Expect(other.Put(key, value)).To(Succeed())
	}
	b.Expect(errors.Join(devices.Unpin(), devices.Close(), other.Pin(pin), other.Close())).To(Succeed())
}

// While trunk0 and the workers have the programs of another capacity already and trunk1 does not, clients that move are
// where they were seen last, for frames to one and to all; and so they are once the last program is replaced, by whichever build.
func TestMovesWhileOtherMapsTakeOver(t *testing.T) {
	linux.TCX.Need(t)
	for name, later := range laterBuilds {
		t.Run("then "+name, func(t *testing.T) {
			nettest.Enter(t)
			path := nettest.BPFFS(t)
			b := startHere(t, demux.Options{PinPath: path})
			for n := range 3 {
				b.assign(mac(n+1), n/2) // 1 and 2 share a worker
				b.learn(1, n+1, tag(uint16(10+n)))
			}
			b.Eventually(b.far[0].Count).Should(Equal(2))
			b.Eventually(b.far[1].Count).Should(Equal(1))
			places := b.places()
			b.moved(places, 1, 0, 20)
			b.Expect(b.events(4)).To(HaveLen(4))

			pin := filepath.Join(path, fmt.Sprintf("link_%d", b.trunks[1]))
			b.Expect(os.Rename(pin, pin+"_away")).To(Succeed())
			stone, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			b.Expect(err).NotTo(HaveOccurred())
			b.Expect(stone.Pin(pin)).To(Succeed())
			for range 2 {
				_, err = demux.Load(demux.Options{PinPath: path, Capacity: 32})
				b.Expect(err).To(MatchError(ContainSubstring("link_")), "the pin of trunk1's program is none")
			}

			b.moved(places, 2, 0, 21) // by a program of the new maps
			b.moved(places, 1, 1, 22) // by one of the old
			b.moved(places, 3, 1, 23)
			b.moved(places, 3, 0, 24)
			b.moved(places, 1, 0, 20)
			b.seen(places, 1, 1, 27)

			later.change(b, path)
			moves := 8
			if later.killed {
				_, err := demux.Load(demux.Options{PinPath: path, Capacity: later.capacity})
				b.Expect(err).To(MatchError(ContainSubstring("link_")))
				b.moved(places, 2, 0, 28)
				b.moved(places, 3, 1, 29)
				moves += 2
			}
			b.Expect(stone.Unpin()).To(Succeed())
			b.Expect(os.Rename(pin+"_away", pin)).To(Succeed())
			b.demux = b.load(demux.Options{PinPath: path, Capacity: later.capacity})
			b.arrives(places)
			b.moved(places, 1, 0, 25)
			b.moved(places, 3, 1, 26)
			at := map[demux.MAC]demux.Location{mac(1): {Trunk: b.trunks[0], Protocol: 0x8100, TCI: 20}}
			for _, event := range b.events(moves) {
				if before, known := at[event.MAC]; known {
					b.Expect(event.From).To(Equal(before), "%v", event)
				}
				at[event.MAC] = event.To
			}
			for n, place := range places {
				b.Expect(at[mac(n)]).To(Equal(demux.Location{Trunk: b.trunks[place.trunk], Protocol: 0x8100, TCI: place.vlan.TCI}))
			}
			b.Expect(b.drops()).To(BeEmpty())
			b.counted(places)
			b.alone(path)
		})
	}
}

// A build that was killed once all programs were its own, while it took the locations out of the earlier maps: some are
// in its own and some are not.
func TestMovesAfterOtherMapsTookOver(t *testing.T) {
	linux.TCX.Need(t)
	for name, later := range laterBuilds {
		t.Run("then "+name, func(t *testing.T) {
			nettest.Enter(t)
			path := nettest.BPFFS(t)
			b := startHere(t, demux.Options{PinPath: path})
			for n := range 3 {
				b.assign(mac(n+1), n/2)
				b.learn(1, n+1, tag(uint16(10+n)))
			}
			places := b.places()
			b.Eventually(b.far[0].Count).Should(Equal(2))
			b.Eventually(b.far[1].Count).Should(Equal(1))
			b.assign(mac(9), 2)
			w2, err := netlink.LinkByName("w2")
			b.Expect(err).NotTo(HaveOccurred())
			b.Expect(netlink.LinkDel(w2)).To(Succeed())
			again, _ := nettest.Veth(t, "w2", "p2") // attached once all programs are replaced, where its pin can be made
			stone, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			b.Expect(err).NotTo(HaveOccurred())
			b.Expect(stone.Pin(filepath.Join(path, fmt.Sprintf("link_%d", again)))).To(Succeed())
			_, err = demux.Load(demux.Options{PinPath: path, Capacity: 32})
			b.Expect(err).To(MatchError(ContainSubstring("attaching to w2")))
			b.Expect(stone.Unpin()).To(Succeed())
			b.moved(places, 1, 0, 20)
			b.moved(places, 2, 0, 21)
			b.takeOneClient(path)
			b.moved(places, 1, 0, 22)
			b.moved(places, 2, 1, 23)
			b.seen(places, 3, 0, 24)

			later.change(b, path)
			b.demux = b.load(demux.Options{PinPath: path, Capacity: later.capacity})
			b.arrives(places)
			b.moved(places, 1, 1, 25)
			b.Expect(b.drops()).To(BeEmpty())
			b.counted(places)
			b.alone(path)
		})
	}
}

// A build that was killed while it removed the maps it had taken all from.
func TestEarlierMapsAreLeft(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path})
	b.assign(mac(1), 0)
	b.learn(1, 1, tag(10))
	b.demux = b.load(demux.Options{PinPath: path, Capacity: 32})
	b.Expect(os.Mkdir(filepath.Join(path, "maps_1"), 0o700)).To(Succeed())
	for _, name := range []string{"owners", "slots"} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(path, "maps_2", name), nil)
		b.Expect(err).NotTo(HaveOccurred())
		again, err := m.Clone()
		b.Expect(err).NotTo(HaveOccurred())
		b.Expect(errors.Join(again.Pin(filepath.Join(path, "maps_1", name)), again.Close(), m.Close())).To(Succeed())
	}
	b.demux = b.load(demux.Options{PinPath: path, Capacity: 32})
	b.Expect(b.location(1).VID()).To(BeEquivalentTo(10))
	b.Expect(b.client(1).Rx.Packets).To(BeEquivalentTo(1))
	b.alone(path)
}

// A worker that is renamed while no process runs keeps what other maps have counted of it.
func TestRenamedBeforeOtherMapsTakeOver(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path})
	b.assign(mac(1), 0)
	b.learn(1, 1, tag(10))
	b.far[0].Send(nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)})
	b.Eventually(b.sw[1].Count).Should(Equal(1))
	b.Expect(b.demux.Close()).To(Succeed())
	b.rename("w0", "later")
	b.workers[0] = "later"
	b.demux = b.load(demux.Options{PinPath: path, Capacity: 32})
	b.Expect(b.flooded(0).Packets).To(BeEquivalentTo(1))
}

// takeOneClient takes the counters and the location of the first client whose location is not in the killed build's maps there.
func (b *bed) takeOneClient(path string) {
	type slot struct {
		Rx, Tx   oldTally
		Released uint64
	}
	killed, ours := filepath.Join(path, "maps_1"), filepath.Join(path, "maps_2")
	locations := pinnedMap[uint64](b, ours, "locations")
	for at, in := range locations {
		if in == 0 || in>>32 != 0 {
			continue
		}
		base := &pinnedMap[slot](b, ours, "slots")[at]
		for _, cpu := range b.clientTallies(killed) {
			counted := cpu[in-1]
			base.Rx.Packets -= counted.Rx.Packets
			base.Rx.Bytes -= counted.Rx.Bytes
			base.Tx.Packets -= counted.Tx.Packets
			base.Tx.Bytes -= counted.Tx.Bytes
		}
		locations[at] = pinnedMap[uint64](b, killed, "locations")[in-1]
		return
	}
	b.t.Fatal("all locations are in the killed build's maps")
}

// counted expects the frames that the sent ones make.
func (b *bed) counted(places map[int]bedPlace) {
	b.t.Helper()
	for n, place := range places {
		b.Eventually(func() [2]uint64 { c := b.client(n); return [2]uint64{c.Rx.Packets, c.Tx.Packets} }).
			Should(Equal([2]uint64{uint64(place.sent), uint64(place.got)}), "client %d", n)
	}
}

// alone expects one set of maps in the folder.
func (b *bed) alone(path string) {
	b.t.Helper()
	sets, err := filepath.Glob(filepath.Join(path, "maps_*"))
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(sets).To(HaveLen(1))
}

// bedPlace is where a client is.
type bedPlace struct {
	trunk, worker int
	vlan          nettest.Tag
	sent, got     int // frames from and to it alone
}

// places are those of the clients.
func (b *bed) places() map[int]bedPlace {
	places := make(map[int]bedPlace)
	for n := range 3 {
		places[n+1] = bedPlace{trunk: 1, worker: n / 2, vlan: tag(uint16(10 + n)), sent: 1}
	}
	return places
}

// moved lets the client be seen at another place, and the workers send to it and to all then.
func (b *bed) moved(places map[int]bedPlace, n, trunk int, vid uint16) {
	b.t.Helper()
	b.seen(places, n, trunk, vid)
	b.arrives(places)
}

// seen returns once the worker has the client's frame from that place.
func (b *bed) seen(places map[int]bedPlace, n, trunk int, vid uint16) {
	b.t.Helper()
	at, worker := places[n], places[n].worker
	at.trunk, at.vlan = trunk, tag(vid)
	at.sent++
	places[n] = at
	before := b.far[worker].Count()
	b.sw[trunk].Send(fromClient(n, tag(vid)))
	b.Eventually(b.far[worker].Count).Should(Equal(before+1), "client %d was seen on trunk %d", n, trunk)
}

// arrives expects that what workers send to a client and to all comes in at the places, and nowhere else.
func (b *bed) arrives(places map[int]bedPlace) {
	b.t.Helper()
	var want [2][][]byte
	group := nettest.Frame{Destination: broadcast, Source: gateway, Payload: make([]byte, 64)}
	for _, port := range b.sw {
		port.Reset()
	}
	for n, place := range places {
		b.far[place.worker].Send(toClient(n))
		place.got++
		places[n] = place
		want[place.trunk] = append(want[place.trunk], toClient(n, place.vlan).Bytes(), group.WithTags(place.vlan).Bytes())
	}
	b.far[0].Send(group)
	b.far[1].Send(group)
	for trunk, frames := range want {
		b.Eventually(b.sw[trunk].Frames).Should(ConsistOf(frames), "on trunk %d", trunk)
	}
}
