package demux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"golang.org/x/sys/unix"
)

const linkPinPrefix = "link_"

// pins is the folder in a BPF file system.
type pins struct {
	path string
	dir  *os.File
}

// mapNames are the maps that outlive a process, and the names of their pins.
func mapNames() []string {
	return []string{
		bpfMapAttachments, bpfMapClientTallies, bpfMapClients, bpfMapCpuStates, bpfMapDrops, bpfMapEvents,
		bpfMapLocations, bpfMapOwners, bpfMapSlots, bpfMapTrunkPlaces, bpfMapWorkerClients, bpfMapWorkerFloods,
	}
}

func createPins(path string) (*pins, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("creating pin folder: %w", err)
	}
	p, err := openPins(path)
	if errors.Is(err, errNotBPFFS) {
		_ = os.Remove(path) // ours if empty, and it is of no use
	}
	return p, err
}

var errNotBPFFS = errors.New("not in a BPF file system")

func openPins(path string) (*pins, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening pin folder: %w", err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("looking at the file system of %s: %w", path, err), dir.Close())
	}
	if uint32(stat.Type) != unix.BPF_FS_MAGIC {
		return nil, errors.Join(fmt.Errorf("opening pin folder %s: %w: mount one (mount -t bpf bpf /sys/fs/bpf), or pin nothing",
			path, errNotBPFFS), dir.Close())
	}
	return &pins{path: path, dir: dir}, nil
}

// lock keeps other processes from changing what is pinned, for as long as one
// change takes.
func (p *pins) lock() (unlock func(), err error) {
	for {
		err := unix.Flock(int(p.dir.Fd()), unix.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("locking %s: %w", p.path, err)
		}
	}
	return func() { _ = unix.Flock(int(p.dir.Fd()), unix.LOCK_UN) }, nil
}

// empty reports whether no process has loaded from here before.
func (p *pins) empty() bool {
	_, err := os.Stat(filepath.Join(p.path, bpfMapOwners))
	return errors.Is(err, fs.ErrNotExist)
}

func (p *pins) link(ifindex int) string {
	return filepath.Join(p.path, linkPinPrefix+strconv.Itoa(ifindex))
}

// remove removes our pins, and the folder if nothing else is in it.
func (p *pins) remove() error {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return fmt.Errorf("listing pins: %w", err)
	}
	ours := make(map[string]bool)
	for _, name := range mapNames() {
		ours[name] = true
	}
	var errs []error
	left := 0
	for _, entry := range entries {
		name := entry.Name()
		if !ours[name] && !strings.HasPrefix(name, linkPinPrefix) {
			left++
			continue
		}
		if err := os.Remove(filepath.Join(p.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing pin: %w", err))
		}
	}
	if left == 0 && len(errs) == 0 {
		// A folder that is the BPF file system's own root, where it is mounted, stays.
		if err := os.Remove(p.path); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("removing pin folder: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (p *pins) close() error { return p.dir.Close() }

// RemovePins ends the dataplane whose pins are in the folder, with no process
// running: it detaches the links and the clsact filters and removes the maps
// and the folder. A Demux that is still there can only read from then on. Call
// it in the network namespace of the interfaces. Without the folder the error
// wraps [fs.ErrNotExist].
func RemovePins(path string) error {
	p, err := openPins(path)
	if err != nil {
		return err
	}
	defer p.close()
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(p.disown(), p.detachLinks(), p.detachFilters(), p.remove())
}

// disown makes a Demux that is still there read only.
func (p *pins) disown() error {
	owners, err := ebpf.LoadPinnedMap(filepath.Join(p.path, bpfMapOwners), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening pinned map: %w", err)
	}
	defer owners.Close()
	var owner bpfOwner
	if err := owners.Lookup(uint32(0), &owner); err != nil {
		return fmt.Errorf("reading who runs %s: %w", p.path, err)
	}
	owner.Generation++
	if err := owners.Put(uint32(0), &owner); err != nil {
		return fmt.Errorf("ending the ownership of %s: %w", p.path, err)
	}
	return nil
}

func (p *pins) detachLinks() error {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return fmt.Errorf("listing pins: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), linkPinPrefix) {
			continue
		}
		tcx, err := tchook.OpenTCX(filepath.Join(p.path, entry.Name()))
		if err == nil {
			err = tcx.Detach()
		}
		if err != nil && !errors.Is(err, tchook.ErrGone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *pins) detachFilters() error {
	attachments, err := ebpf.LoadPinnedMap(filepath.Join(p.path, bpfMapAttachments), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening pinned map: %w", err)
	}
	defer attachments.Close()
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening netlink socket: %w", err)
	}
	defer handle.Close()

	var (
		index  uint32
		record bpfAttachment
		errs   []error
	)
	entry := attachments.Iterate()
	for entry.Next(&index, &record) {
		if record.Mode != bpfAttachModeMODE_CLSACT {
			continue
		}
		filter := tchook.OpenClsact(handle, int(index), filterName(record.Role), record.OwnsQdisc != 0)
		if err := filter.Detach(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := entry.Err(); err != nil {
		errs = append(errs, fmt.Errorf("reading what is attached: %w", err))
	}
	return errors.Join(errs...)
}
