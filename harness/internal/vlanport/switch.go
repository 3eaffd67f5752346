package vlanport

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

var (
	// ErrInUse means that the interface is a trunk or an access port already.
	ErrInUse = errors.New("interface is in the switch already")
	// ErrUnknown means that the interface is no such port of the switch.
	ErrUnknown = errors.New("interface is not in the switch")
	// ErrClosed means that the Switch was closed.
	ErrClosed = errors.New("switch is closed")
)

// Switch is a running switch. It is safe for concurrent use. Its methods are
// to be called in the network namespace of its interfaces.
type Switch struct {
	objs     bpfObjects
	listSpec *ebpf.MapSpec // of the maps in members
	net      *netlink.Handle

	mu     sync.Mutex // guards everything below
	closed bool
	trunks map[int]bool
	ports  map[int]bpfVlan
}

// Load loads the programs into the kernel; the switch has no port yet. Its
// filters stay until Close or until the interface is deleted.
func Load() (_ *Switch, err error) {
	s := &Switch{trunks: make(map[int]bool), ports: make(map[int]bpfVlan)}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("reading embedded BPF objects: %w", err)
	}
	s.listSpec = spec.Maps[bpfMapMembers].InnerMap
	s.net, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink socket: %w", err)
	}
	if err := spec.LoadAndAssign(&s.objs, nil); err != nil {
		s.net.Close()
		if verifier, ok := errors.AsType[*ebpf.VerifierError](err); ok {
			return nil, fmt.Errorf("loading the switch: %w; the verifier's log:\n%s", err, strings.Join(verifier.Log, "\n"))
		}
		return nil, fmt.Errorf("loading the switch (Linux 6.1 or newer, CAP_BPF and CAP_NET_ADMIN are needed): %w", err)
	}
	return s, nil
}

// AddTrunk adds a tagged port.
func (s *Switch) AddTrunk(ifindex int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkFree(ifindex); err != nil {
		return fmt.Errorf("adding trunk %d: %w", ifindex, err)
	}
	if err := s.attach(ifindex, s.objs.FromTrunk, "vlanport/trunk"); err != nil {
		return fmt.Errorf("adding trunk %d: %w", ifindex, err)
	}
	s.trunks[ifindex] = true
	return nil
}

// Access is an access port to be.
type Access struct {
	Index int // of the interface
	VLAN  probe.VLAN
	Trunk int // index of an interface that is a trunk of the switch
}

// AddPorts adds access ports: all of them or, with an error, none. Each change of
// a VLAN waits for running programs, so those of one call wait together.
func (s *Switch) AddPorts(ports ...Access) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var vlans []bpfVlan
	for i, a := range ports {
		vlan, err := s.addPort(a)
		if err != nil {
			return errors.Join(fmt.Errorf("adding access port %d: %w", a.Index, err), s.removePorts(ports[:i]))
		}
		if !slices.Contains(vlans, vlan) {
			vlans = append(vlans, vlan)
		}
	}
	if err := s.publish(vlans...); err != nil {
		return errors.Join(fmt.Errorf("adding access ports: %w", err), s.removePorts(ports))
	}
	return nil
}

// addPort does all but to publish.
func (s *Switch) addPort(a Access) (bpfVlan, error) {
	vlan := bpfVlan{Trunk: uint32(a.Trunk), Protocol: a.VLAN.Protocol, Vid: a.VLAN.VID}
	if err := errors.Join(a.VLAN.Validate(), s.checkFree(a.Index)); err != nil {
		return vlan, err
	}
	if !s.trunks[a.Trunk] {
		return vlan, fmt.Errorf("trunk %d: %w", a.Trunk, ErrUnknown)
	}
	if err := s.objs.Ports.Put(uint32(a.Index), &vlan); err != nil {
		return vlan, fmt.Errorf("storing its VLAN: %w", err)
	}
	if err := s.attach(a.Index, s.objs.FromPort, "vlanport/access"); err != nil {
		return vlan, errors.Join(err, s.objs.Ports.Delete(uint32(a.Index)))
	}
	s.ports[a.Index] = vlan
	return vlan, nil
}

func (s *Switch) removePorts(ports []Access) error {
	var errs []error
	for _, a := range ports {
		vlan := s.ports[a.Index]
		delete(s.ports, a.Index)
		errs = append(errs, s.detach(a.Index), s.objs.Ports.Delete(uint32(a.Index)), s.publish(vlan), s.forget(a.Index, vlan))
	}
	return errors.Join(errs...)
}

// MovePort takes an access port to another VLAN, another trunk or both, between two
// frames, and forgets what was learned on it. No frame of the old VLAN gets through
// once it returns. The port's qdisc stays: without it, and while it is made, the
// kernel drops what the port has to send.
func (s *Switch) MovePort(to Access) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.movePort(to); err != nil {
		return fmt.Errorf("moving access port %d to VLAN %s of trunk %d: %w", to.Index, to.VLAN, to.Trunk, err)
	}
	return nil
}

func (s *Switch) movePort(a Access) error {
	from, there := s.ports[a.Index]
	switch err := a.VLAN.Validate(); {
	case s.closed:
		return ErrClosed
	case !there || !s.trunks[a.Trunk]:
		return ErrUnknown
	case err != nil:
		return err
	}
	to := bpfVlan{Trunk: uint32(a.Trunk), Protocol: a.VLAN.Protocol, Vid: a.VLAN.VID}
	if to == from {
		return nil
	}
	if err := s.objs.Ports.Put(uint32(a.Index), &to); err != nil {
		return fmt.Errorf("storing its VLAN: %w", err)
	}
	s.ports[a.Index] = to
	// Publishing waits for the programs that still run with the old VLAN, so
	// that nothing is learned in it any more.
	if err := s.publish(from, to); err != nil {
		return err
	}
	return s.forget(a.Index, from)
}

// Close takes the switch off its interfaces; no frame passes any more.
func (s *Switch) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for ifindex := range s.ports {
		errs = append(errs, s.detach(ifindex))
	}
	for ifindex := range s.trunks {
		errs = append(errs, s.detach(ifindex))
	}
	errs = append(errs, s.objs.Close())
	s.net.Close()
	return errors.Join(errs...)
}

func (s *Switch) checkFree(ifindex int) error {
	switch {
	case s.closed:
		return ErrClosed
	case s.trunks[ifindex], s.ports[ifindex] != bpfVlan{}:
		return ErrInUse
	}
	return nil
}
