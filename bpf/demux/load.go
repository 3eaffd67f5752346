package demux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// layoutVersion changes when the maps change in a way that the kernel cannot
// tell from their sizes.
const layoutVersion = 6

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
	net      *netlink.Handle          // of the namespace Load was called in
	sockets  map[int]*nl.SocketHandle // for what net cannot ask for
	clocks   clocks                   // of the time namespace
	pins     *pins                    // nil without Options.PinPath
	inner    *ebpf.Map                // what wait puts into grace_period
	programs []uint32                 // IDs of our programs and of those they take over from
	done     chan struct{}            // closed by Close

	// Maps, in memory.
	table         *clientTable
	buckets       [][bucketEntries]entry
	locations     []word
	former        []word           // locations in the maps that ours take over from, by slot there
	tallies       []bpfClientTally // see readTallies
	formerClients []word           // their slots, see former_clients of maps.h
	slots         []bpfSlot
	clientWorkers []word           // numbers, by slot
	states        []bpfWorkerState // by worker number
	settings      []bpfSettings
	policies      []bpfPolicies
	placeRules    []placeRule // by slot
	seeds         [2]uint64   // of table

	mu            sync.RWMutex // guards everything below and, for reading, the use of what is above
	closed        bool
	base          bpfOwner // what earlier maps counted
	generation    uint64
	releases      uint64
	clients       []client                  // by slot
	free          slotSet                   // those without a client
	allowed       map[uint32][]allowedPlace // by slot; only of clients that may not be anywhere
	devices       map[string]*device
	byIndex       map[int]*device   // those that are there
	trunkNumbers  []bool            // in use
	workerNumbers []bool            // in use; 0 is none's
	limits        [2]map[uint32]int // by role: how many devices have each limit
	ran           bool              // a program may run
	migrated      bool              // the maps have all that earlier ones had
	tookOver      bool
	formerNames   map[string]*device // the devices by their names in the earlier maps
	missed        []Change           // what had happened before Load
}

// Load loads the programs and, with Options.PinPath, takes over what an
// earlier process left there: trunks, workers, assignments, locations and counters
// stay, and every attached interface goes over to the new programs without losing a
// frame. The earlier Demux may still be there; it can only read from then on. What
// was made by an earlier release or with another capacity is copied. Clients may move meanwhile: frames
// follow them, but group frames follow those above 16,384 at the end only.
//
// Errors: [ErrIncompatiblePins], [ErrOtherNamespace], [ErrFull] for a capacity
// that is less than the assignments there are. Then the earlier dataplane goes on.
// An error from the verifier carries its whole log.
func Load(opts Options) (_ *Demux, err error) {
	if err := opts.check(); err != nil {
		return nil, fmt.Errorf("checking options: %w", err)
	}
	d, err := open(opts)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()
	if d.pins == nil {
		if err := d.loadNew(nil); err != nil {
			return nil, err
		}
		return d, nil
	}
	unlock, err := d.pins.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := d.loadPinned(); err != nil {
		_ = os.Remove(opts.PinPath) // if nothing is in it, it is of no use
		return nil, fmt.Errorf("taking over %s: %w", opts.PinPath, err)
	}
	return d, nil
}

// open returns a Demux that has nothing loaded yet.
func open(opts Options) (_ *Demux, err error) {
	d := &Demux{opts: opts, done: make(chan struct{}), devices: make(map[string]*device), byIndex: make(map[int]*device)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()
	if d.clocks, err = readClocks(); err != nil {
		return nil, err
	}
	d.net, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink socket: %w", err)
	}
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink socket: %w", err)
	}
	d.sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	if opts.PinPath != "" {
		d.pins, err = createPins(opts.PinPath)
	}
	return d, err
}

// loadPinned goes on with the maps that are pinned where they fit, and copies what
// is in them otherwise.
func (d *Demux) loadPinned() error {
	old, err := d.pins.current()
	if err != nil {
		return err
	}
	defer old.close()
	if old == nil {
		_, err := d.pins.removeStrays()
		if err != nil {
			return err
		}
		set, err := d.pins.next(nil)
		if err == nil {
			err = d.loadNew(set)
		}
		if err != nil {
			return errors.Join(err, d.pins.remove())
		}
		return nil
	}
	d.tookOver = true
	if err := old.check(&d.opts); err != nil {
		return err
	}
	if old.layout == layoutVersion && old.capacity == d.opts.Capacity {
		err := d.loadObjects(old)
		if err == nil {
			if err := d.restore(); err != nil {
				return err
			}
			return d.finish(old)
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
	if err := d.opts.complete(); err != nil {
		return err
	}
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
	set.former = old
	records, err := d.copyTo(set, then)
	if err != nil {
		return errors.Join(err, set.remove())
	}
	if err := d.takeOverHooks(records); err != nil {
		return err
	}
	return d.finish(set)
}

func (d *Demux) copyTo(set *pinSet, then *snapshot) (map[*device]bpfDevice, error) {
	old := set.former
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
	if err := d.giveBack(old, then); err != nil {
		return nil, err
	}
	d.generation = 1
	records, err := d.copyFrom(then)
	if err == nil {
		err = d.openEarly(records)
	}
	if err != nil {
		return nil, err
	}
	return records, old.disown()
}

// finish takes what is left in the sets before this one, which no program uses any more, and removes them.
func (d *Demux) finish(set *pinSet) error {
	if set.former != nil {
		d.ran = true
		if err := d.wait(); err != nil {
			return err
		}
		now, err := set.former.read(d)
		if err != nil {
			return err
		}
		if err := d.mergeFrom(now); err != nil {
			return err
		}
		if err := set.first().remove(); err != nil {
			return err
		}
	}
	atomic.StoreUint32(&d.policies[0].FormerClients, 0)
	return d.pins.removeAllBut(set.number)
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
	d.base.Programs, d.base.OlderPrograms = [4]uint32{}, [12]uint32{}
	copy(d.base.OlderPrograms[:], d.programs[copy(d.base.Programs[:], d.programs):])
	d.base.Options = d.opts.bits()
	if d.migrated {
		d.base.Options |= bpfOptionMigrated
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

// Options returns those that hold, with the defaults and what was pinned: GroupLimit and Age are 0 for no limit and for ever, and
// Unknown has the name that the default worker has now.
func (d *Demux) Options() Options {
	d.mu.RLock()
	defer d.mu.RUnlock()
	opts := d.opts
	opts.GroupLimit, opts.Age = max(opts.GroupLimit, 0), max(opts.Age, 0)
	if a := d.defaultWorker(); a != nil {
		opts.Unknown = a.name
	}
	return opts
}

// Pinned reports whether the maps still are where Load pinned them. Where they are not, nothing outlives the process.
func (d *Demux) Pinned() bool { return d.pins != nil && d.pins.there() }

// TookOver reports whether Load found a dataplane.
func (d *Demux) TookOver() bool { return d.tookOver }

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

func (d *Demux) release() error {
	errs := []error{d.releaseMaps()}
	for _, a := range d.devices {
		if a.hook != nil {
			errs = append(errs, a.hook.Close())
		}
		if a.early != nil {
			errs = append(errs, a.early.Close())
		}
	}
	if d.pins != nil {
		errs = append(errs, d.pins.close())
	}
	if d.net != nil {
		d.net.Close()
	}
	for _, socket := range d.sockets {
		socket.Close()
	}
	return errors.Join(errs...)
}
