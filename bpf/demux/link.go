package demux

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"golang.org/x/sys/unix"
)

// Link is an interface as the kernel describes it.
type Link struct {
	Index  int
	Name   string
	Up     bool   // it is up and has a carrier: what is sent on it goes out
	MTU    int    // octets of payload, tags not included
	Master int    // index of a bridge or bond that it is a port of, 0 for none
	Kind   string // of a virtual device: "veth"; "" for hardware
	// Ethernet says that its frames begin with an Ethernet header.
	Ethernet bool
	Loopback bool

	peer   int // of a veth: the index of its other end; of others, of the interface below
	peerNS int // ID of the network namespace that is in, -1 for this one
}

// NewLink takes from the kernel's answer what matters here.
func NewLink(from netlink.Link) Link {
	attrs := from.Attrs()
	kind := from.Type()
	if kind == "device" {
		kind = ""
	}
	return Link{
		Index:    attrs.Index,
		Name:     attrs.Name,
		Up:       attrs.RawFlags&(unix.IFF_UP|unix.IFF_LOWER_UP) == unix.IFF_UP|unix.IFF_LOWER_UP,
		MTU:      attrs.MTU,
		Master:   attrs.MasterIndex,
		Kind:     kind,
		Ethernet: attrs.EncapType == "ether",
		Loopback: attrs.Flags&net.FlagLoopback != 0,
		peer:     attrs.ParentIndex,
		peerNS:   attrs.NetNsID,
	}
}

func missing(err error) bool {
	_, notFound := errors.AsType[netlink.LinkNotFoundError](err)
	return notFound || errors.Is(err, unix.ENODEV)
}

// maxListed bounds how many interfaces an error lists.
const maxListed = 30

func (d *Demux) interfaceNames() string {
	links, err := d.net.LinkList()
	if err != nil {
		return "(listing them: " + err.Error() + ")"
	}
	names := make([]string, 0, len(links))
	for i, link := range links {
		if i == maxListed {
			names = append(names, fmt.Sprintf("and %d more", len(links)-maxListed))
			break
		}
		names = append(names, link.Attrs().Name)
	}
	return strings.Join(names, ", ")
}

func (d *Demux) linkByName(name string) (*Link, error) {
	found, err := d.net.LinkByName(name)
	if missing(err) {
		return nil, fmt.Errorf("attaching %s: %w in this network namespace, there are: %s", name, ErrUnknownInterface, d.interfaceNames())
	}
	if err != nil {
		return nil, fmt.Errorf("looking up interface %s: %w", name, err)
	}
	if found.Attrs().Name != name { // an alternative name
		return nil, fmt.Errorf("attaching %s: %w: it is another name of %s, which is the one to use", name, ErrUnknownInterface, found.Attrs().Name)
	}
	link := NewLink(found)
	return &link, nil
}

// checkLink refuses an interface that cannot have the device's role, one that
// somebody else's vlandemux serves, and, unless forced, one that the host itself uses.
func (d *Demux) checkLink(a *device, link *Link) error {
	if other := d.byIndex[link.Index]; other != nil && other != a {
		return fmt.Errorf("attaching %s: %w: it is attached as %s", a.name, ErrWrongRole, other.name)
	}
	if link.Loopback {
		return fmt.Errorf("attaching %s: %w: it is the loopback interface", a.name, ErrWrongRole)
	}
	if !link.Ethernet {
		return fmt.Errorf("attaching %s: %w: its frames have no Ethernet header", a.name, ErrWrongRole)
	}
	if err := d.checkServed(a, link.Index); err != nil {
		return err
	}
	if a.forced {
		return nil
	}
	reason, err := d.unfit(a, link)
	if err != nil {
		return fmt.Errorf("looking at interface %s: %w", a.name, err)
	}
	if reason != "" {
		return fmt.Errorf("attaching %s: %w: %s; its traffic would go to the demux, force it if that is meant", a.name, ErrUnfit, reason)
	}
	return nil
}

// unfit is what is against taking the interface from the host. A trunk may have
// addresses: what is untagged can be left to the stack.
func (d *Demux) unfit(a *device, link *Link) (string, error) {
	if link.Master != 0 {
		return fmt.Sprintf("it is a port of interface %d", link.Master), nil
	}
	if below := d.below(link); below != nil && below.role == bpfAttachRoleROLE_TRUNK && a.role == bpfAttachRoleROLE_WORKER {
		return "what it sends goes out of trunk " + below.name + ", clients' frames as well", nil
	}
	if a.role == bpfAttachRoleROLE_TRUNK && d.opts.Untagged == UntaggedPass {
		return "", nil
	}
	handle := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: link.Index, Name: link.Name}}
	addresses, err := uninterrupted(func() ([]netlink.Addr, error) { return d.net.AddrList(handle, netlink.FAMILY_ALL) })
	if err != nil {
		return "", fmt.Errorf("listing its addresses: %w", err)
	}
	for _, address := range addresses {
		if !address.IP.IsLinkLocalUnicast() {
			return "it has the address " + address.IPNet.String(), nil
		}
	}
	routes, err := uninterrupted(func() ([]netlink.Route, error) {
		return d.net.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: link.Index}, netlink.RT_FILTER_OIF)
	})
	if err != nil {
		return "", fmt.Errorf("listing its routes: %w", err)
	}
	for _, route := range routes {
		if route.Dst == nil || !route.Dst.IP.IsLinkLocalUnicast() && !route.Dst.IP.IsMulticast() {
			if route.Dst == nil {
				return "it has the default route", nil
			}
			return "it has the route " + route.Dst.String(), nil
		}
	}
	return "", nil
}

// below is the trunk or worker on top of which the interface is, nil if there is none.
func (d *Demux) below(link *Link) *device {
	if link.peerNS >= 0 || !slices.Contains([]string{"vlan", "macvlan", "macvtap", "ipvlan"}, link.Kind) {
		return nil
	}
	return d.byIndex[link.peer]
}

// uninterrupted lists again when the kernel says that the list changed while it was read:
// on some hosts interfaces come and go all the time. It gives up in the end, since
// the lock of the demux is held.
func uninterrupted[T any](list func() (T, error)) (all T, err error) {
	for range 100 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// checkServed gives ErrServed if the programs of another vlandemux are on the
// interface, or may be: two would take each other's frames.
func (d *Demux) checkServed(a *device, ifindex int) error {
	programs, err := tchook.Programs(d.net, ifindex)
	if err != nil {
		return fmt.Errorf("looking at the programs on %s: %w", a.name, err)
	}
	for _, id := range programs {
		if d.isOurs(id) {
			continue
		}
		other, err := isDemux(id)
		switch {
		case other:
			return fmt.Errorf("attaching %s: %w (program %d): detach it there", a.name, ErrServed, id)
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("attaching %s: %w, or may: program %d is on it, and this process may not see whose it is: take it off, or run with CAP_SYS_ADMIN", a.name, ErrServed, id)
		case err != nil:
			return fmt.Errorf("looking at program %d on %s: %w", id, a.name, err)
		}
	}
	return nil
}

// isOurs tells whether a program is of this dataplane, of this process or one before it.
func (d *Demux) isOurs(id ebpf.ProgramID) bool {
	return slices.Contains(d.programs, uint32(id))
}

// isDemux tells whether a program is some vlandemux's, by the maps that it uses: each
// build has had these at tc, and those in a driver.
func isDemux(id ebpf.ProgramID) (bool, error) {
	program, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return false, err
	}
	maps, _ := info.MapIDs()
	wanted := map[string]bool{bpfMapClients: true, bpfMapLocations: true, bpfMapClientTallies: true}
	if program.Type() == ebpf.XDP {
		wanted = map[string]bool{bpfMapClients: true, bpfMapDropWatch: true, bpfMapDropEvents: true}
	}
	for _, used := range maps {
		m, err := ebpf.NewMapFromID(used)
		if err != nil {
			continue // it has gone
		}
		if info, err := m.Info(); err == nil {
			delete(wanted, info.Name)
		}
		m.Close()
	}
	return len(wanted) == 0, nil
}
