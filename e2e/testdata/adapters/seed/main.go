// Command seed is the algorithm that vlandemux started from, BCC's vlan_learning, with vlandemux's command line and API.
package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/e2e/bench/variants"
	"github.com/vlandemux/vlandemux/e2e/testdata/adapters/plane"
)

func main() {
	plane.Main(func(mode demux.AttachMode) (plane.Backend, error) {
		spec, err := variants.LoadPrograms()
		if err != nil {
			return nil, err
		}
		spec.Maps[variants.ProgramsMapSeedIngress].MaxEntries = 1 << 16
		s := &seed{mode: mode}
		return s, spec.LoadAndAssign(&s.programs, nil)
	})
}

type seed struct {
	programs variants.ProgramsObjects
	mode     demux.AttachMode
	hooks    plane.Hooks
}

func (s *seed) AttachTrunk(ifindex int) error {
	return s.hooks.Attach(s.mode, ifindex, s.programs.SeedPhys2virt)
}
func (s *seed) AttachWorker(ifindex int) error {
	return s.hooks.Attach(s.mode, ifindex, s.programs.SeedVirt2phys)
}

func (s *seed) Assign(mac demux.MAC, worker int) error {
	if worker == 0 {
		return s.programs.SeedIngress.Delete(key(mac))
	}
	return s.programs.SeedIngress.Put(key(mac), variants.ProgramsSeedLeaf{OutIfindex: uint32(worker)})
}

// Client has what the seed prints: rx by client, tx and location by worker. It counts without the tag.
func (s *seed) Client(mac demux.MAC, worker int) (c demux.ClientCounters, err error) {
	var in, out variants.ProgramsSeedLeaf
	if err := s.programs.SeedIngress.Lookup(key(mac), &in); err != nil {
		return c, fmt.Errorf("looking up %s: %w", mac, err)
	}
	if err := s.programs.SeedEgress.Lookup(uint32(worker), &out); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return c, fmt.Errorf("looking up worker %d: %w", worker, err)
	}
	const tag = 4
	c.Rx = demux.Tally{Packets: in.TxPkts, Bytes: in.TxBytes + tag*in.TxPkts}
	c.Tx = demux.Tally{Packets: out.TxPkts, Bytes: out.TxBytes + tag*out.TxPkts}
	if out.OutIfindex != 0 {
		c.Location = demux.Location{Trunk: int(out.OutIfindex), Protocol: out.VlanProto>>8 | out.VlanProto<<8, TCI: out.VlanTci}
	}
	return c, nil
}

// key is a MAC as the programs look it up.
func key(mac demux.MAC) (k uint64) {
	for i, octet := range mac {
		k |= uint64(octet) << (8 * i)
	}
	return k
}
