package demux

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// specs are the maps and programs, sized for the options.
func (d *Demux) specs() (*ebpf.CollectionSpec, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("reading embedded BPF objects: %w", err)
	}
	capacity := uint32(d.opts.Capacity)
	workers := min(max(capacity, minWorkers), maxWorkers)
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting the possible processors: %w", err)
	}
	for name, size := range map[string]int{ // of what is addressed in one value
		bpfMapClients:       bucketsFor(d.opts.Capacity) * int(unsafe.Sizeof(bpfClientBucket{})),
		bpfMapLocations:     d.opts.Capacity * int(unsafe.Sizeof(word{})),
		bpfMapClientTallies: tallyStride(d.opts.Capacity) * int(unsafe.Sizeof(bpfClientTally{})),
	} {
		spec.Maps[name].ValueSize = uint32(size)
	}
	for name, entries := range map[string]uint32{
		bpfMapClientTallies: uint32(cpus),
		bpfMapSlots:         capacity,
		bpfMapClientWorkers: capacity,
		bpfMapCountedPlaces: capacity,
		bpfMapPlaceRules:    capacity,
		bpfMapAllowedPlaces: uint32(MaxPlaces(d.opts.Capacity)),
		bpfMapWorkerPages:   max(workers, 1<<16),
		bpfMapPlacePages:    max(capacity, 1<<16),
		bpfMapWorkerNumbers: workers,
		bpfMapWorkerStates:  workers + 1,
		bpfMapWorkerFloods:  workers + 1,
		bpfMapDevices:       workers + maxTrunks,
		bpfMapLimits:        workers + maxTrunks,
		bpfMapGroupClocks:   workers + 1,
	} {
		spec.Maps[name].MaxEntries = entries
	}
	return spec, nil
}

// valueSections are where the programs are compiled to find the values of maps.
func valueSections() map[string]string {
	return map[string]string{bpfMapPoliciesMap: ".data.policies", bpfMapClients: ".data.clients", bpfMapLocations: ".data.locations"}
}

// loadObjects makes the maps in the set, or takes those that are pinned there. Without a set they are not pinned.
func (d *Demux) loadObjects(set *pinSet) error {
	spec, err := d.specs()
	if err != nil {
		return err
	}
	if set != nil && set.owner.Layout != 0 {
		d.seeds = set.owner.Seeds
	} else if d.seeds, err = drawSeeds(); err != nil {
		return err
	}
	opts := ebpf.CollectionOptions{MapReplacements: make(map[string]*ebpf.Map)}
	formerWidth := uint32(1)
	d.migrated = set == nil || set.former == nil
	if !d.migrated {
		located, err := set.former.located()
		if err != nil {
			return err
		}
		locations, former := located.maps[bpfMapLocations], spec.Maps[bpfMapFormerLocations]
		former.MaxEntries, former.ValueSize = locations.MaxEntries(), locations.ValueSize()
		opts.MapReplacements[bpfMapFormerLocations] = locations
		formerWidth = former.ValueSize / uint32(unsafe.Sizeof(word{}))
	}
	for name, value := range map[string]any{
		bpfVarFirstSeed:       d.seeds[0],
		bpfVarSecondSeed:      d.seeds[1],
		bpfVarBucketShift:     uint32(tableShift(bucketsFor(d.opts.Capacity))),
		bpfVarPassUntagged:    d.opts.Untagged == UntaggedPass,
		bpfVarUnknownMacs:     unknownPolicy(d.opts.Unknown),
		bpfVarGroupIntervalNs: groupInterval(d.opts.GroupLimit),
		bpfVarCapacity:        uint32(d.opts.Capacity),
		bpfVarFormerWidth:     formerWidth,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	foldConstants(spec)
	if set != nil {
		opts.Maps.PinPath = set.path
		for _, name := range mapNames() {
			spec.Maps[name].Pinning = ebpf.PinByName
		}
	}
	for name, section := range valueSections() {
		m, err := ebpf.NewMapWithOptions(spec.Maps[name], opts.Maps)
		if err != nil {
			return d.explainLoad(err)
		}
		defer m.Close() // the objects have a clone
		spec.Maps[section].ValueSize = m.ValueSize()
		opts.MapReplacements[name], opts.MapReplacements[section] = m, m
	}
	if err := spec.LoadAndAssign(&d.objs, &opts); err != nil {
		return d.explainLoad(err)
	}
	if d.inner, err = ebpf.NewMap(spec.Maps[bpfMapGracePeriod].InnerMap); err != nil {
		return fmt.Errorf("making a map to wait with: %w", err)
	}
	return nil
}

// lastOctets is what the first seed ends with: 2^24 by the golden ratio. The MACs of a site follow one another, and their
// last octets are the top of their words: those meet these bits alone, whose multiples keep apart however many there are
// (Knuth, The Art of Computer Programming 3, 6.4). With all bits drawn, one pair of seeds in two million had no room for
// 100 such MACs.
const (
	lastOctets     = 0x9e3779
	lastOctetsMask = 1<<24 - 1
)

func drawSeeds() (seeds [2]uint64, err error) {
	for i := range seeds {
		var octets [8]byte
		if _, err := rand.Read(octets[:]); err != nil {
			return seeds, fmt.Errorf("drawing the seeds of the table of clients: %w", err)
		}
		seeds[i] = binary.NativeEndian.Uint64(octets[:]) | 1
	}
	seeds[0] = seeds[0]&^lastOctetsMask | lastOctets
	return seeds, nil
}

// mapAll maps what user space reads and writes without system calls.
func (d *Demux) mapAll() error {
	err := errors.Join(
		mapMemory(&d.buckets, d.objs.Clients), mapMemory(&d.locations, d.objs.Locations), mapMemory(&d.former, d.objs.FormerLocations),
		mapMemory(&d.slots, d.objs.Slots), mapMemory(&d.clientWorkers, d.objs.ClientWorkers), mapMemory(&d.states, d.objs.WorkerStates),
		mapMemory(&d.settings, d.objs.SettingsMap), mapMemory(&d.policies, d.objs.PoliciesMap), mapMemory(&d.placeRules, d.objs.PlaceRules),
		mapMemory(&d.tallies, d.objs.ClientTallies), mapMemory(&d.formerClients, d.objs.FormerClients))
	if err != nil {
		return err
	}
	d.allowed = make(map[uint32][]allowedPlace)
	d.table = newClientTable(d.buckets, d.seeds)
	d.clients = make([]client, d.opts.Capacity)
	d.limits = [2]map[uint32]int{{}, {}}
	d.trunkNumbers, d.workerNumbers = make([]bool, maxTrunks), make([]bool, len(d.states))
	d.freeSlots()
	return nil
}

// explainLoad says what can be done about an error of the kernel.
func (d *Demux) explainLoad(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, ebpf.ErrMapIncompatible):
		return err
	case errors.As(err, &verifier):
		return fmt.Errorf("loading BPF programs into %s: %w; the verifier's log:\n%s", kernelName(), err, strings.Join(verifier.Log, "\n"))
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("loading BPF programs into %s: %w: this kernel is built without BPF, it needs CONFIG_BPF_SYSCALL", kernelName(), err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("loading BPF programs into %s: %w: root, or CAP_BPF and CAP_NET_ADMIN (before Linux 6.12 CAP_PERFMON too), is needed", kernelName(), err)
	}
	return fmt.Errorf("loading BPF programs into %s: %w", kernelName(), err)
}

func (d *Demux) incompatible(err error) error {
	return fmt.Errorf("%w in %s: %w: run the release that made them, or remove them with `vlandemux detach`",
		ErrIncompatiblePins, d.opts.PinPath, err)
}

// kernelName is for messages, and names the kernels that will do.
func kernelName() string {
	code, err := features.LinuxVersionCode()
	if err != nil {
		return "a kernel of unknown version (6.1 and newer are supported)"
	}
	return fmt.Sprintf("kernel %d.%d (6.1 and newer are supported)", code>>16, code>>8&0xff)
}

func (d *Demux) releaseMaps() error {
	err := errors.Join(unmapMemory(&d.buckets), unmapMemory(&d.locations), unmapMemory(&d.former), unmapMemory(&d.slots), unmapMemory(&d.clientWorkers),
		unmapMemory(&d.states), unmapMemory(&d.settings), unmapMemory(&d.policies), unmapMemory(&d.placeRules), unmapMemory(&d.tallies), unmapMemory(&d.formerClients),
		d.objs.Close(), d.inner.Close())
	d.objs, d.inner = bpfObjects{}, nil
	return err
}
