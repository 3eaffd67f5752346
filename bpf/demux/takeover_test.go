package demux_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// While trunk0 and the workers have the programs of another capacity already and trunk1 does not, clients that move are
// where they were seen last, for frames to one and to all; and so they are once the last program is replaced.
func TestMovesWhileOtherMapsTakeOver(t *testing.T) {
	linux.TCX.Need(t)
	for _, capacity := range []int{32, 48} { // that of those programs, and a third one
		t.Run(fmt.Sprint("then ", capacity), func(t *testing.T) {
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
			_, err = demux.Load(demux.Options{PinPath: path, Capacity: 32})
			b.Expect(err).To(MatchError(ContainSubstring("link_")), "the pin of trunk1's program is none")

			b.moved(places, 2, 0, 21) // by a program of the new maps
			b.moved(places, 1, 1, 22) // by one of the old
			b.moved(places, 3, 1, 23)
			b.moved(places, 3, 0, 24)
			b.moved(places, 1, 0, 20)
			b.seen(places, 1, 1, 27)

			b.Expect(stone.Unpin()).To(Succeed())
			b.Expect(os.Rename(pin+"_away", pin)).To(Succeed())
			b.demux = b.load(demux.Options{PinPath: path, Capacity: capacity})
			b.arrives(places)
			b.moved(places, 1, 0, 25)
			b.moved(places, 3, 1, 26)
			at := map[demux.MAC]demux.Location{mac(1): {Trunk: b.trunks[0], Protocol: 0x8100, TCI: 20}}
			for _, event := range b.events(8) {
				if before, known := at[event.MAC]; known {
					b.Expect(event.From).To(Equal(before), "%v", event)
				}
				at[event.MAC] = event.To
			}
			for n, place := range places {
				b.Expect(at[mac(n)]).To(Equal(demux.Location{Trunk: b.trunks[place.trunk], Protocol: 0x8100, TCI: place.vlan.TCI}))
			}
			b.Expect(b.drops()).To(BeEmpty())
		})
	}
}

// bedPlace is where a client is.
type bedPlace struct {
	trunk, worker int
	vlan          nettest.Tag
}

// places are those of the clients.
func (b *bed) places() map[int]bedPlace {
	places := make(map[int]bedPlace)
	for n := range 3 {
		places[n+1] = bedPlace{1, n / 2, tag(uint16(10 + n))}
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
	worker := places[n].worker
	places[n] = bedPlace{trunk, worker, tag(vid)}
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
		want[place.trunk] = append(want[place.trunk], toClient(n, place.vlan).Bytes(), group.WithTags(place.vlan).Bytes())
	}
	b.far[0].Send(group)
	b.far[1].Send(group)
	for trunk, frames := range want {
		b.Eventually(b.sw[trunk].Frames).Should(ConsistOf(frames), "on trunk %d", trunk)
	}
}
