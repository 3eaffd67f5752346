package demux

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// layoutVersion changes when the maps change in a way that the kernel cannot
// tell from their sizes.
const layoutVersion = 2

// minWorkers is the least number of workers that can be attached, whatever the
// capacity; maxWorkers is the most.
const (
	minWorkers = 1024
	maxWorkers = 1 << 16
)

// Demux is a loaded dataplane. All methods are safe for concurrent use.
type Demux struct {
	opts     Options
	objs     bpfObjects
	net      *netlink.Handle // of the namespace Load was called in
	pins     *pins           // nil without Options.PinPath
	inner    *ebpf.Map       // what wait puts into grace_period
	programs [4]uint32       // IDs of our programs and of those they took over from
	done     chan struct{}   // closed by Close

	// Maps, in memory.
	table         *clientTable
	buckets       [][bucketEntries]entry
	locations     []word
	slots         []bpfSlot
	clientWorkers []word           // numbers, by slot
	states        []bpfWorkerState // by worker number
	settings      []bpfSettings
	seeds         [2]uint64 // of table

	mu            sync.RWMutex // guards everything below and, for reading, the use of what is above
	closed        bool
	base          bpfOwner // what earlier maps counted
	generation    uint64
	releases      uint64
	clients       []client // by slot
	free          []uint32 // slots, the one to take next first
	devices       map[string]*device
	byIndex       map[int]*device // those that are there
	trunkNumbers  []bool          // in use
	workerNumbers []bool          // in use; 0 is none's
	ran           bool            // a program may run
}

// Load loads the programs and, with Options.PinPath, takes over what an
// earlier process left there: trunks, workers, assignments, locations and counters
// stay, and every attached interface goes over to the new programs without losing a
// frame. The earlier Demux may still be there; it can only read from then on. What
// was made by an earlier release or with another capacity is copied.
//
// Errors: [ErrIncompatiblePins], [ErrOtherNamespace], [*FullError] for a capacity
// that is less than the assignments there are. Then the earlier dataplane goes on.
// An error from the verifier carries its whole log.
func Load(opts Options) (_ *Demux, err error) {
	if err := opts.check(); err != nil {
		return nil, fmt.Errorf("checking options: %w", err)
	}
	d := &Demux{opts: opts, done: make(chan struct{}), devices: make(map[string]*device), byIndex: make(map[int]*device)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()
	d.net, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink socket: %w", err)
	}
	if opts.PinPath == "" {
		if err := d.loadNew(nil); err != nil {
			return nil, err
		}
		return d, nil
	}
	if d.pins, err = createPins(opts.PinPath); err != nil {
		return nil, err
	}
	unlock, err := d.pins.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := d.loadPinned(); err != nil {
		return nil, fmt.Errorf("taking over %s: %w", opts.PinPath, err)
	}
	return d, nil
}

// loadPinned goes on with the maps that are pinned where they fit, and copies what
// is in them otherwise.
func (d *Demux) loadPinned() error {
	old, former, err := d.pins.current()
	if err != nil {
		return err
	}
	defer old.close()
	defer former.close()
	if old == nil {
		set, err := d.pins.next(nil)
		if err == nil {
			err = d.loadNew(set)
		}
		if err != nil {
			return errors.Join(err, d.pins.remove())
		}
		return nil
	}
	if err := old.check(&d.opts); err != nil {
		return err
	}
	if old.layout == layoutVersion && old.capacity == d.opts.Capacity {
		err := d.loadObjects(old)
		if err == nil {
			return errors.Join(d.restore(), d.finish(former, nil))
		}
		if !errors.Is(err, ebpf.ErrMapIncompatible) {
			return err
		}
		if err := d.releaseMaps(); err != nil {
			return err
		}
	}
	return d.upgrade(old)
}

// loadNew makes maps, pinned in the set if it is not nil.
func (d *Demux) loadNew(set *pinSet) error {
	d.opts.complete()
	if err := d.loadObjects(set); err != nil {
		return err
	}
	if err := d.mapAll(); err != nil {
		return err
	}
	if err := d.knowPrograms(); err != nil {
		return err
	}
	d.generation = 1
	return d.saveOwner()
}

// upgrade makes new maps and takes over to them. Until all is copied, an error leaves
// the earlier dataplane as it is.
func (d *Demux) upgrade(old *pinSet) error {
	then, err := old.read(d)
	if err != nil {
		return err
	}
	set, err := d.pins.next(old)
	if err != nil {
		return err
	}
	records, err := d.copyTo(set, old, then)
	if err != nil {
		return errors.Join(err, set.remove())
	}
	if err := d.takeOverHooks(records); err != nil {
		return err
	}
	return d.finish(old, then)
}

func (d *Demux) copyTo(set, old *pinSet, then *snapshot) (map[*device]bpfDevice, error) {
	// Events that were not read yet stay in their ring.
	events, err := old.maps[bpfMapEvents].Clone()
	if err == nil {
		err = errors.Join(events.Pin(filepath.Join(set.path, bpfMapEvents)), events.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("taking the ring of events along: %w", err)
	}
	if err := d.loadObjects(set); err != nil {
		return nil, err
	}
	if err := d.mapAll(); err != nil {
		return nil, err
	}
	d.generation = 1
	records, err := d.copyFrom(then)
	if err != nil {
		return nil, err
	}
	return records, old.disown()
}

// finish takes what is left in an earlier set of maps, which no program uses any
// more, and removes it. then is what was copied of it.
func (d *Demux) finish(old *pinSet, then *snapshot) error {
	if old == nil {
		return nil
	}
	d.ran = true
	if err := d.wait(); err != nil {
		return err
	}
	now, err := old.read(d)
	if err != nil {
		return err
	}
	if err := d.mergeFrom(then, now); err != nil {
		return err
	}
	return old.remove()
}

// specs are the maps and programs, sized for the options.
func (d *Demux) specs() (*ebpf.CollectionSpec, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("reading embedded BPF objects: %w", err)
	}
	capacity := uint32(d.opts.Capacity)
	workers := min(max(capacity, minWorkers), maxWorkers)
	for name, entries := range map[string]uint32{
		bpfMapClients:       uint32(bucketsFor(d.opts.Capacity)),
		bpfMapLocations:     capacity,
		bpfMapClientTallies: capacity,
		bpfMapSlots:         capacity,
		bpfMapClientWorkers: capacity,
		bpfMapCountedPlaces: capacity,
		bpfMapWorkerPages:   max(workers, 1<<16),
		bpfMapPlacePages:    max(capacity, 1<<16),
		bpfMapWorkerNumbers: workers,
		bpfMapWorkerStates:  workers + 1,
		bpfMapWorkerFloods:  workers + 1,
		bpfMapDevices:       workers + maxTrunks,
	} {
		spec.Maps[name].MaxEntries = entries
	}
	return spec, nil
}

// loadObjects makes the maps in the set, or takes those that are pinned there.
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
	for name, value := range map[string]any{
		bpfVarFirstSeed:    d.seeds[0],
		bpfVarSecondSeed:   d.seeds[1],
		bpfVarBucketShift:  uint32(tableShift(int(spec.Maps[bpfMapClients].MaxEntries))),
		bpfVarPassUntagged: d.opts.Untagged == UntaggedPass,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	var opts ebpf.CollectionOptions
	if set != nil {
		opts.Maps.PinPath = set.path
		for _, name := range mapNames() {
			spec.Maps[name].Pinning = ebpf.PinByName
		}
	}
	if err := spec.LoadAndAssign(&d.objs, &opts); err != nil {
		return d.explainLoad(err)
	}
	if d.inner, err = ebpf.NewMap(spec.Maps[bpfMapGracePeriod].InnerMap); err != nil {
		return fmt.Errorf("making a map to wait with: %w", err)
	}
	return nil
}

// drawSeeds returns two odd numbers.
func drawSeeds() (seeds [2]uint64, err error) {
	for i := range seeds {
		var octets [8]byte
		if _, err := rand.Read(octets[:]); err != nil {
			return seeds, fmt.Errorf("drawing the seeds of the table of clients: %w", err)
		}
		seeds[i] = binary.NativeEndian.Uint64(octets[:]) | 1
	}
	return seeds, nil
}

// mapAll maps what user space reads and writes without system calls.
func (d *Demux) mapAll() (err error) {
	if d.buckets, err = mapMemory[[bucketEntries]entry](d.objs.Clients, bpfMapClients); err != nil {
		return err
	}
	if d.locations, err = mapMemory[word](d.objs.Locations, bpfMapLocations); err != nil {
		return err
	}
	if d.slots, err = mapMemory[bpfSlot](d.objs.Slots, bpfMapSlots); err != nil {
		return err
	}
	if d.clientWorkers, err = mapMemory[word](d.objs.ClientWorkers, bpfMapClientWorkers); err != nil {
		return err
	}
	if d.states, err = mapMemory[bpfWorkerState](d.objs.WorkerStates, bpfMapWorkerStates); err != nil {
		return err
	}
	if d.settings, err = mapMemory[bpfSettings](d.objs.SettingsMap, bpfMapSettingsMap); err != nil {
		return err
	}
	d.table = newClientTable(d.buckets, d.seeds)
	d.clients = make([]client, d.opts.Capacity)
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

// change runs fn while no other method and no other process changes anything.
func (d *Demux) change(fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.pins == nil {
		return fn()
	}
	unlock, err := d.pins.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var owner bpfOwner
	if err := d.objs.Owners.Lookup(uint32(0), &owner); err != nil {
		return fmt.Errorf("reading who runs %s: %w", d.pins.path, err)
	}
	if owner.Generation != d.generation {
		return fmt.Errorf("changing %s: %w", d.pins.path, ErrTakenOver)
	}
	return fn()
}

// saveOwner records this Demux as the one that may change the maps.
func (d *Demux) saveOwner() error {
	d.base.Layout, d.base.Generation, d.base.Releases, d.base.Seeds = layoutVersion, d.generation, d.releases, d.seeds
	d.base.Programs = d.programs
	d.base.Options = 0
	if d.opts.Untagged == UntaggedPass {
		d.base.Options |= bpfOptionPassUntagged
	}
	var err error
	if d.base.Netns, err = netnsCookie(); err != nil {
		return err
	}
	if err := d.objs.Owners.Put(uint32(0), &d.base); err != nil {
		return fmt.Errorf("recording the owner of the maps: %w", err)
	}
	return nil
}

// Capacity returns the most assignments there can be.
func (d *Demux) Capacity() int { return d.opts.Capacity }

// Untagged returns what happens to untagged frames on a trunk.
func (d *Demux) Untagged() UntaggedPolicy { return d.opts.Untagged }

// Close releases the descriptors. With Options.PinPath the dataplane goes on
// without the process, until [Demux.Detach] or [RemovePins]; without, it ends.
func (d *Demux) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	var err error
	if d.pins == nil {
		err = d.loseAll()
	}
	d.closed = true
	close(d.done)
	return errors.Join(err, d.release())
}

// Detach takes the programs off every interface, removes the pins and closes
// the Demux. Assignments and counters are gone then.
func (d *Demux) Detach() error {
	err := d.change(func() error {
		err := d.loseAll()
		d.generation++ // for another Demux of the same pins
		err = errors.Join(err, d.saveOwner())
		if d.pins != nil {
			err = errors.Join(err, d.pins.remove())
		}
		return err
	})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return errors.Join(err, d.Close())
}

// release closes whatever is open.
func (d *Demux) release() error {
	errs := []error{d.releaseMaps()}
	for _, a := range d.devices {
		if a.hook != nil {
			errs = append(errs, a.hook.Close())
		}
	}
	if d.pins != nil {
		errs = append(errs, d.pins.close())
	}
	if d.net != nil {
		d.net.Close()
	}
	return errors.Join(errs...)
}

func (d *Demux) releaseMaps() error {
	err := errors.Join(unmapMemory(d.buckets), unmapMemory(d.locations), unmapMemory(d.slots), unmapMemory(d.clientWorkers),
		unmapMemory(d.states), unmapMemory(d.settings), d.objs.Close(), d.inner.Close())
	d.buckets, d.locations, d.slots, d.clientWorkers, d.states, d.settings = nil, nil, nil, nil, nil, nil
	d.objs, d.inner = bpfObjects{}, nil
	return err
}

// netnsCookie is that of the calling thread's network namespace: no other has had
// it since the machine started.
func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		var cookie uint64
		if cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
			return cookie, nil
		}
	}
	return 0, fmt.Errorf("reading the cookie of the network namespace: %w", err)
}
