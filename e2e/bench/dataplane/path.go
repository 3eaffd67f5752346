package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// Names of the interfaces of a path.
const (
	clientEnd = "sw"
	trunkName = "trunk"
	workerEnd = "w0"
	farEnd    = "p"
)

// path is the wire that every variant is measured on:
//
//	phys [sw] == [trunk] host [w0] -- [p] virt
type path struct {
	phys, host, virt *namespace
	trunk, worker    int    // ifindexes in host
	far              string // the interface in virt that frames arrive at
	closers          []io.Closer
}

// newPath wires a path. A direct one has no host: sw is connected to p.
func newPath(direct bool) (_ *path, err error) {
	p := &path{far: farEnd}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	for _, ns := range []**namespace{&p.phys, &p.host, &p.virt} {
		if *ns, err = newNamespace(); err != nil {
			return nil, err
		}
		p.closers = append(p.closers, *ns)
	}
	if direct {
		return p, veth(p.phys, clientEnd, p.virt, farEnd)
	}
	if err := errors.Join(veth(p.phys, clientEnd, p.host, trunkName), veth(p.host, workerEnd, p.virt, farEnd)); err != nil {
		return nil, err
	}
	if p.trunk, err = p.host.index(trunkName); err == nil {
		p.worker, err = p.host.index(workerEnd)
	}
	return p, err
}

// await returns once the interface sends frames: the kernel gives one whose
// peer came up later its queue in the background.
func (ns *namespace) await(name string) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		link, err := ns.net.LinkByName(name)
		if err != nil {
			return fmt.Errorf("looking up %s: %w", name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
	}
	return fmt.Errorf("waiting for %s to become operational: it did not in 10 s", name)
}

// keep closes c with the path, before what was there earlier.
func (p *path) keep(c io.Closer) { p.closers = append(p.closers, c) }

func (p *path) Close() error {
	var errs []error
	for _, c := range slices.Backward(p.closers) {
		errs = append(errs, c.Close())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// delivered returns the frames that have arrived at the far end.
func (p *path) delivered() (uint64, error) { return p.virt.received(p.far) }

// address gives both ends an address and knowledge of each other, so that only
// TCP's own frames are on the path.
func (p *path) address(client, worker mac) error {
	ends := []struct {
		ns        *namespace
		name      string
		mac, peer mac
		ip, to    string
	}{
		{p.phys, clientEnd, client, worker, clientIP, workerIP},
		{p.virt, p.far, worker, client, workerIP, clientIP},
	}
	for _, end := range ends {
		link, err := end.ns.net.LinkByName(end.name)
		if err != nil {
			return fmt.Errorf("looking up %s: %w", end.name, err)
		}
		address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(end.ip), Mask: net.CIDRMask(24, 32)}}
		neighbour := &netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(end.to), HardwareAddr: end.peer[:],
		}
		err = errors.Join(end.ns.net.LinkSetHardwareAddr(link, end.mac[:]), end.ns.net.AddrAdd(link, address), end.ns.net.NeighAdd(neighbour))
		if err != nil {
			return fmt.Errorf("giving %s its addresses: %w", end.name, err)
		}
	}
	return nil
}

const clientIP, workerIP = "192.168.1.1", "192.168.1.2"
