package demux_test

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// veth makes a pair of interfaces that are up.
func veth(name, peer string) (remove func(), err error) {
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: name})
	pair.PeerName = peer
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("making the veth %s: %w", name, err)
	}
	remove = func() { _ = netlink.LinkDel(pair) }
	for _, end := range []string{name, peer} {
		link, err := netlink.LinkByName(end)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			remove()
			return nil, fmt.Errorf("bringing %s up: %w", end, err)
		}
	}
	return remove, nil
}

// A demux in a program of one's own: one trunk, one worker, one client. It ends with the program, since nothing is pinned. It needs
// the capabilities that the package comment names.
func Example() {
	run := func() error {
		for name, peer := range map[string]string{"eth9": "switch9", "worker9": "box9"} {
			remove, err := veth(name, peer)
			if err != nil {
				return err
			}
			defer remove()
		}
		d, err := demux.Load(demux.Options{Capacity: 16})
		if err != nil {
			return err
		}
		defer d.Close() //nolint:errcheck // nothing is pinned: the kernel takes it all away
		if _, err := d.AttachTrunk("eth9", false); err != nil {
			return err
		}
		mac, err := demux.ParseMAC("02:00:00:00:00:01")
		if err != nil {
			return err
		}
		if err := d.AssignAll([]demux.Assignment{{MAC: mac, Worker: "worker9"}}); err != nil {
			return err
		}
		assignments, err := d.Assignments()
		if err != nil {
			return err
		}
		for _, a := range assignments {
			fmt.Println(a.MAC, "belongs to", a.Worker, "and was seen:", a.Location)
		}
		return nil
	}
	if err := run(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 02:00:00:00:00:01 belongs to worker9 and was seen: never
}
