package vlanport

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
)

// publish replaces the lists of the ports in VLANs. The kernel returns once no
// program uses an old list, nor anything removed from the maps before. The
// programs count on that: see find in bpf/internal/find.h. Lists wait together.
func (s *Switch) publish(vlans ...bpfVlan) error {
	var publishing errgroup.Group
	for _, vlan := range vlans {
		publishing.Go(func() error { return s.publishOne(vlan) })
	}
	return publishing.Wait()
}

func (s *Switch) publishOne(vlan bpfVlan) error {
	var list []uint32
	for ifindex, in := range s.ports {
		if in == vlan {
			list = append(list, uint32(ifindex))
		}
	}
	if len(list) == 0 {
		if err := s.objs.Members.Delete(&vlan); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("removing VLAN %d: %w", vlan.Vid, err)
		}
		return nil
	}
	slices.Sort(list)
	spec := s.listSpec.Copy()
	spec.MaxEntries = uint32(len(list))
	for i, ifindex := range list {
		spec.Contents = append(spec.Contents, ebpf.MapKV{Key: uint32(i), Value: ifindex})
	}
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return fmt.Errorf("making the list of ports of VLAN %d: %w", vlan.Vid, err)
	}
	defer inner.Close() // the outer map holds it
	if err := s.objs.Members.Put(&vlan, inner); err != nil {
		return fmt.Errorf("publishing the ports of VLAN %d: %w", vlan.Vid, err)
	}
	return nil
}

// forget removes what was learned on a port in a VLAN it has left, and all that
// was learned in the VLAN if no port is left in it.
func (s *Switch) forget(ifindex int, vlan bpfVlan) error {
	empty := !slices.Contains(slices.Collect(maps.Values(s.ports)), vlan)
	var (
		station bpfStation
		where   uint32
		gone    []bpfStation
		entry   = s.objs.Stations.Iterate()
	)
	for entry.Next(&station, &where) {
		if station.Vlan == vlan && (empty || where == uint32(ifindex)) {
			gone = append(gone, station)
		}
	}
	// The programs may remove nothing, but they add: an iteration that was cut
	// short has seen less than everything.
	if err := entry.Err(); err != nil {
		return fmt.Errorf("reading learned addresses: %w", err)
	}
	for _, station := range gone {
		if err := s.objs.Stations.Delete(&station); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forgetting a learned address: %w", err)
		}
	}
	return nil
}
