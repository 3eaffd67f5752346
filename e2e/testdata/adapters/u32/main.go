// Command u32 is what every kernel has without BPF, u32 filters in front of mirred, with vlandemux's command line and API. Neither can
// take a tag off, push one, learn, or count by client.
package main

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/e2e/testdata/adapters/plane"
)

func main() {
	plane.Main(func(mode demux.AttachMode) (plane.Backend, error) {
		if mode != demux.AttachClsact {
			return nil, fmt.Errorf("u32 filters belong to clsact, not to %s", mode)
		}
		return &filters{workers: map[demux.MAC]int{}}, nil
	})
}

type filters struct {
	trunks  []int
	workers map[demux.MAC]int
}

func (f *filters) AttachTrunk(ifindex int) error {
	f.trunks = append(f.trunks, ifindex)
	return plane.Clsact(ifindex)
}

// AttachWorker has nothing to do: there is no way back. What no filter matches goes on to the host's stack.
func (*filters) AttachWorker(int) error { return nil }

func (f *filters) Assign(mac demux.MAC, worker int) error {
	if worker == 0 {
		delete(f.workers, mac)
	} else {
		f.workers[mac] = worker
	}
	return f.write()
}

// write makes the filters of each trunk anew: those of one priority go together.
func (f *filters) write() error {
	for _, trunk := range f.trunks {
		_ = netlink.FilterDel(match(trunk, 1, nil)) // there may be none yet
		for mac, worker := range f.workers {
			// The source address starts 8 octets before the network header.
			keys := []netlink.TcU32Key{
				{Mask: 0xffffffff, Val: binary.BigEndian.Uint32(mac[:4]), Off: -8},
				{Mask: 0xffff0000, Val: uint32(binary.BigEndian.Uint16(mac[4:])) << 16, Off: -4},
			}
			if err := netlink.FilterAdd(match(trunk, 1, keys, netlink.NewMirredAction(worker))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *filters) Client(demux.MAC, int) (demux.ClientCounters, error) {
	return demux.ClientCounters{}, nil
}

// match is a filter for frames that have the keys; without any, it stands for all of its priority.
func match(ifindex int, priority uint16, keys []netlink.TcU32Key, actions ...netlink.Action) *netlink.U32 {
	u := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Priority: priority, Protocol: unix.ETH_P_ALL},
		Actions:     actions,
	}
	if len(keys) > 0 {
		u.Sel = &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL, Nkeys: uint8(len(keys)), Keys: keys}
	}
	return u
}
