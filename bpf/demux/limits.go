package demux

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/ethtool"
)

// frameRoom is what the kernel lets a frame have beyond its device's MTU, the outermost tag
// not counted: an Ethernet header, and one more tag.
const frameRoom = 14 + 4

// room is frameRoom, less the outermost tag where a veth leaves it to the kernel, which puts it into the frame before the
// other end looks at its length. What hardware takes in that case is not known.
func (d *Demux) room(a *device, link *Link) uint32 {
	if a.role != bpfAttachRoleROLE_TRUNK || link.Kind != "veth" {
		return frameRoom
	}
	flags, err := ethtool.Flags(d.sockets[unix.NETLINK_ROUTE].Socket.GetFd(), link.Name)
	if err != nil || flags&ethtool.FlagTxVLAN != 0 { // with an error, it has gone
		return frameRoom
	}
	return frameRoom - 4
}

// note takes from the interface what becomes of frames for the device: whether it is up, and how
// long they may be. Once that is done for each of several devices, publishLimits has to follow.
func (d *Demux) note(a *device, link *Link) error {
	a.link, a.down, a.mtu = *link, !link.Up, d.leastMTU(link)
	a.peer = d.toPeer(a)
	var limit uint32
	switch {
	case a.down && a.role == bpfAttachRoleROLE_WORKER: // its clients have no worker
		return d.unlimit(a)
	case !a.down:
		limit = uint32(a.mtu) + d.room(a, link)
	}
	if a.limited && a.limit == limit {
		return nil
	}
	d.uncount(a)
	a.limited, a.limit = true, limit
	d.limits[a.role-1][limit]++
	if err := d.objs.Limits.Put(uint32(a.ifindex), limit); err != nil {
		return fmt.Errorf("recording the MTU of %s: %w", a.name, err)
	}
	return nil
}

// toPeer tells whether frames of a worker can go to the other end of its link. The kernel drops them if that
// is none, or in this namespace.
func (d *Demux) toPeer(a *device) bool {
	return d.opts.Redirect == RedirectPeer && a.role == bpfAttachRoleROLE_WORKER && a.link.Kind == "veth" && a.link.peerNS >= 0
}

// unlimit is for a device that is not there, or a worker that is down.
func (d *Demux) unlimit(a *device) error {
	d.uncount(a)
	return erase(d.objs.Limits, uint32(a.ifindex), "forgetting the MTU of %s", a.name)
}

func (d *Demux) uncount(a *device) {
	counts := d.limits[a.role-1]
	if !a.limited {
		return
	}
	a.limited = false
	if counts[a.limit]--; counts[a.limit] == 0 {
		delete(counts, a.limit)
	}
}

// publishLimits lets the programs look only for longer frames than the least limit.
func (d *Demux) publishLimits() {
	least := func(role bpfAttachRole) uint32 {
		if len(d.limits[role-1]) == 0 {
			return 0
		}
		return slices.Min(slices.Collect(maps.Keys(d.limits[role-1])))
	}
	atomic.StoreUint32(&d.policies[0].WorkerLimit, least(bpfAttachRoleROLE_WORKER))
	atomic.StoreUint32(&d.policies[0].TrunkLimit, least(bpfAttachRoleROLE_TRUNK))
}

// leastMTU is that of the interface or, where that is less, of the other end of its veth: the
// kernel drops what that does not take.
func (d *Demux) leastMTU(link *Link) int {
	if peer := d.peerMTU(link); peer != 0 && peer < link.MTU {
		return peer
	}
	return link.MTU
}

// peerMTU is 0 if there is no other end, or none that may be looked at: it can be in a network
// namespace of another user.
func (d *Demux) peerMTU(link *Link) int {
	if link.Kind != "veth" || link.peer == 0 {
		return 0
	}
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	request.Sockets = d.sockets
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(link.peer)
	request.AddData(info)
	if link.peerNS >= 0 {
		request.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(link.peerNS))))
	}
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil || len(answers) != 1 {
		return 0
	}
	peer, err := netlink.LinkDeserialize(nil, answers[0])
	if err != nil {
		return 0
	}
	return peer.Attrs().MTU
}

// checkPeers looks at the other ends of veths: when the MTU of one changes, the kernel tells
// nobody at this end. It returns what it did.
func (d *Demux) checkPeers() (done []Change) {
	type difference struct {
		a    *device
		link Link
		mtu  int
	}
	var all []difference
	d.mu.RLock()
	for _, a := range d.byIndex {
		if a.link.Kind == "veth" {
			all = append(all, difference{a, a.link, a.mtu})
		}
	}
	d.mu.RUnlock()
	all = slices.DeleteFunc(all, func(x difference) bool { return d.leastMTU(&x.link) == x.mtu }) // nobody waits for it
	if len(all) == 0 {
		return nil
	}
	err := d.change(func() error {
		for _, x := range all {
			if x.a.ifindex == x.link.Index && x.a.link == x.link {
				err := d.note(x.a, &x.link)
				done = append(done, Change{Name: x.a.name, What: mtuChange(x.mtu, x.a.mtu), Err: err})
			}
		}
		d.publishLimits()
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		done = append(done, Change{Name: all[0].a.name, What: "other MTU", Err: err})
	}
	return done
}

func mtuChange(from, to int) string {
	return fmt.Sprintf("takes an MTU of %d, the other end of a veth included; it was %d", to, from)
}

// SetDefaultWorker makes the worker of that name, which has to be attached or expected, the one that
// frames of MACs without a worker are given to where Options.Unknown says so: without their outer tag,
// as any worker's. Nothing is learned from them, so what it sends back is dropped as not_assigned. ""
// is for no such worker.
func (d *Demux) SetDefaultWorker(name string) error {
	return d.change(func() error {
		before, now := d.defaultWorker(), d.devices[name]
		if name != "" && (now == nil || now.role != bpfAttachRoleROLE_WORKER) {
			return fmt.Errorf("giving unknown MACs to %s: %w: it is no worker here", name, ErrUnknownInterface)
		}
		if before == now {
			return nil
		}
		var errs []error
		if before != nil {
			before.isDefault = false
			atomic.StoreUint32(&d.policies[0].DefaultWorker, 0)
			errs = append(errs, d.wait(), d.save(before), d.forgetIdle(map[*device]bool{before: true}))
		}
		if now != nil {
			now.isDefault = true
			errs = append(errs, d.save(now))
			d.point(now)
		}
		return errors.Join(errs...)
	})
}

// defaultWorker is nil if there is none.
func (d *Demux) defaultWorker() *device {
	for _, a := range d.devices {
		if a.isDefault {
			return a
		}
	}
	return nil
}
