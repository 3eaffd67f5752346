package demux

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// layoutVersion changes when the maps change in a way that the kernel cannot
// tell from their sizes.
const layoutVersion = 1

// minWorkers is the least number of workers that can be attached, whatever the
// capacity.
const minWorkers = 1024

// Demux is a loaded dataplane. All methods are safe for concurrent use.
type Demux struct {
	opts      Options
	objs      bpfObjects
	net       *netlink.Handle // of the namespace Load was called in
	pins      *pins           // nil without Options.PinPath
	locations *locationTable
	done      chan struct{} // closed by Close

	listSpec, placesSpec *ebpf.MapSpec // of the maps in worker_clients and trunk_places

	mu         sync.RWMutex // guards everything below and, for reading, the use of what is above
	closed     bool
	generation uint64
	releases   uint64
	clients    map[MAC]bpfClient
	free       []uint32 // slots, the one to take next first
	attached   map[int]*attachment
}

// Load loads the programs and, with Options.PinPath, takes over what an
// earlier process left there: assignments, locations and counters stay, and
// every attached interface goes over to the new programs without losing a
// frame. The earlier Demux may still be there; it can only read from then on.
//
// Pins made with another capacity give [ErrIncompatiblePins]. An error from the
// verifier carries its whole log.
func Load(opts Options) (_ *Demux, err error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("checking options: %w", err)
	}
	d := &Demux{
		opts:     opts,
		done:     make(chan struct{}),
		clients:  make(map[MAC]bpfClient),
		attached: make(map[int]*attachment),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()

	d.net, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink socket: %w", err)
	}
	if opts.PinPath != "" {
		d.pins, err = createPins(opts.PinPath)
		if err != nil {
			return nil, err
		}
		var unlock func()
		unlock, err = d.pins.lock()
		if err != nil {
			return nil, err
		}
		defer unlock()
		if d.pins.empty() {
			defer func() {
				if err != nil {
					err = errors.Join(err, d.pins.remove())
				}
			}()
		}
	}
	if err := d.loadObjects(); err != nil {
		return nil, err
	}
	d.locations, err = mapLocations(d.objs.Locations)
	if err != nil {
		return nil, err
	}
	if err := d.restore(); err != nil {
		if d.pins != nil {
			return nil, fmt.Errorf("taking over %s: %w", opts.PinPath, err)
		}
		return nil, err
	}
	return d, nil
}

func (d *Demux) loadObjects() error {
	spec, err := loadBpf()
	if err != nil {
		return fmt.Errorf("reading embedded BPF objects: %w", err)
	}
	capacity := uint32(d.opts.Capacity)
	workers := max(capacity, minWorkers)
	for _, name := range []string{bpfMapClients, bpfMapLocations, bpfMapClientTallies, bpfMapSlots} {
		spec.Maps[name].MaxEntries = capacity
	}
	for _, name := range []string{bpfMapWorkerClients, bpfMapWorkerFloods} {
		spec.Maps[name].MaxEntries = workers
	}
	spec.Maps[bpfMapAttachments].MaxEntries = workers + spec.Maps[bpfMapTrunkPlaces].MaxEntries
	d.listSpec, d.placesSpec = spec.Maps[bpfMapWorkerClients].InnerMap, spec.Maps[bpfMapTrunkPlaces].InnerMap
	if err := spec.Variables[bpfVarCapacity].Set(capacity); err != nil {
		return fmt.Errorf("setting capacity: %w", err)
	}
	if err := spec.Variables[bpfVarPassUntagged].Set(d.opts.Untagged == UntaggedPass); err != nil {
		return fmt.Errorf("setting untagged policy: %w", err)
	}

	var opts ebpf.CollectionOptions
	if d.pins != nil {
		opts.Maps.PinPath = d.pins.path
		for _, name := range mapNames() {
			spec.Maps[name].Pinning = ebpf.PinByName
		}
	}
	if err := spec.LoadAndAssign(&d.objs, &opts); err != nil {
		return d.explainLoad(err)
	}
	return nil
}

// explainLoad says what can be done about an error of the kernel.
func (d *Demux) explainLoad(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, ebpf.ErrMapIncompatible):
		return d.incompatible(err)
	case errors.As(err, &verifier):
		return fmt.Errorf("loading BPF programs into %s: %w; the verifier's log:\n%s", kernelName(), err, strings.Join(verifier.Log, "\n"))
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("loading BPF programs into %s: %w: this kernel is built without BPF, it needs CONFIG_BPF_SYSCALL", kernelName(), err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("loading BPF programs into %s: %w: root, or CAP_BPF and CAP_NET_ADMIN, is needed", kernelName(), err)
	}
	return fmt.Errorf("loading BPF programs into %s: %w", kernelName(), err)
}

func (d *Demux) incompatible(err error) error {
	return fmt.Errorf("%w in %s: %w: load with the capacity they were made with, or remove them with `vlandemux detach`",
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
	owner := bpfOwner{Layout: layoutVersion, Generation: d.generation, Releases: d.releases}
	if err := d.objs.Owners.Put(uint32(0), &owner); err != nil {
		return fmt.Errorf("recording the owner of the maps: %w", err)
	}
	return nil
}

// Capacity returns the most assignments there can be.
func (d *Demux) Capacity() int { return d.opts.Capacity }

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
		err = d.detachAll()
	}
	d.closed = true
	close(d.done)
	return errors.Join(err, d.release())
}

// Detach takes the programs off every interface, removes the pins and closes
// the Demux. Assignments and counters are gone then.
func (d *Demux) Detach() error {
	err := d.change(func() error {
		err := d.detachAll()
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
	var errs []error
	for _, a := range d.attached {
		errs = append(errs, a.Close())
	}
	errs = append(errs, d.locations.unmap(), d.objs.Close())
	if d.pins != nil {
		errs = append(errs, d.pins.close())
	}
	if d.net != nil {
		d.net.Close()
	}
	return errors.Join(errs...)
}
