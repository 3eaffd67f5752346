package demux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	linkPinPrefix = "link_"
	setPrefix     = "maps_"
)

// pins is the folder in a BPF file system: a pin for each TCX and XDP link, and a folder for
// each set of maps. There is one set but while its successor is made.
type pins struct {
	path string
	dir  *os.File
}

// mapNames are the maps that outlive a process, and the names of their pins. The
// owner's is the last: a set with it is whole.
func mapNames() []string {
	return []string{
		bpfMapAllowedPlaces, bpfMapClientTallies, bpfMapClientWorkers, bpfMapClients, bpfMapCountedPlaces, bpfMapCpuStates, bpfMapDevices, bpfMapDrops,
		bpfMapEvents, bpfMapLimits, bpfMapLocations, bpfMapPlacePages, bpfMapPlaceRules, bpfMapPoliciesMap, bpfMapSettingsMap, bpfMapSlots, bpfMapTrunkIndexes,
		bpfMapTrunkNumbers, bpfMapWorkerFloods, bpfMapWorkerNumbers, bpfMapWorkerPages, bpfMapWorkerStates, bpfMapOwners,
	}
}

func createPins(path string) (*pins, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("creating pin folder: %w", err)
	}
	p, err := openPins(path)
	if err != nil {
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

func (p *pins) link(ifindex int) string {
	return filepath.Join(p.path, linkPinPrefix+strconv.Itoa(ifindex))
}

// links are the indexes of the interfaces for which a link is pinned, with earlyNumber for one in the driver.
func (p *pins) links() ([]int, error) { return p.numbered(linkPinPrefix, false) }

// current returns the latest whole set of maps, nil if there is none. Its former is the one before it, unless all that
// is in that was taken over: else a process was killed meanwhile.
func (p *pins) current() (latest *pinSet, err error) {
	numbers, err := p.numbers()
	if err != nil {
		return nil, err
	}
	latest, err = openFirstLayout(p.path)
	for _, number := range numbers {
		if err != nil {
			break
		}
		set := p.set(number)
		if err = set.load(); err != nil || set.layout == 0 { // it was not whole yet
			err = errors.Join(err, set.close())
			continue
		}
		if latest.whole() && set.owner.Options&bpfOptionMigrated == 0 {
			set.former, latest = latest, set
			set.owner.PassedBase, set.owner.DropBases, set.owner.EventsLostBase, set.owner.PlacesLostBase = bpfTally{}, [32]bpfTally{}, 0, 0
			continue
		}
		err = latest.close()
		latest = set
	}
	if err != nil {
		return nil, errors.Join(err, latest.close())
	}
	return latest, nil
}

// numbers are those of the sets of which there is anything, the earliest first.
func (p *pins) numbers() ([]int, error) { return p.numbered(setPrefix, true) }

// numbered lists the numbers, from 1 on, behind the prefix of files or of folders, in order.
func (p *pins) numbered(prefix string, folders bool) (numbers []int, err error) {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return nil, fmt.Errorf("listing pins: %w", err)
	}
	for _, entry := range entries {
		text, is := strings.CutPrefix(entry.Name(), prefix)
		if number, err := strconv.Atoi(text); is && err == nil && entry.IsDir() == folders && number > 0 {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (p *pins) set(number int) *pinSet {
	return &pinSet{path: filepath.Join(p.path, setPrefix+strconv.Itoa(number)), number: number}
}

// next is a new set, to follow another.
func (p *pins) next(old *pinSet) (*pinSet, error) {
	set := p.set(1)
	if old != nil {
		set = p.set(old.number + 1)
	}
	// A set that is not whole was being made when its process was killed.
	if err := set.remove(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(set.path, 0o700); err != nil {
		return nil, fmt.Errorf("creating a folder for the maps: %w", err)
	}
	return set, nil
}

// remove removes our pins, and the folder if nothing else is in it.
func (p *pins) remove() error {
	errs := []error{p.removeAllBut(0)}
	// A folder that is the BPF file system's own root, where it is mounted, stays, and
	// so does one with pins of others.
	if err := os.Remove(p.path); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, fmt.Errorf("removing pin folder: %w", err))
	}
	return errors.Join(errs...)
}

func (p *pins) removeAllBut(kept int) error {
	numbers, err := p.numbers()
	errs := []error{err}
	for _, number := range numbers {
		if number != kept {
			errs = append(errs, p.set(number).remove())
		}
	}
	return errors.Join(errs...)
}

// there tells whether the folder is the one that was opened, with a whole set of maps in it.
func (p *pins) there() bool {
	opened, err := p.dir.Stat()
	now, nowErr := os.Stat(p.path)
	whole, _ := filepath.Glob(filepath.Join(p.path, setPrefix+"*", bpfMapOwners))
	return err == nil && nowErr == nil && os.SameFile(opened, now) && len(whole) > 0
}

func (p *pins) close() error { return p.dir.Close() }
