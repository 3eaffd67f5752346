package demux

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

type pinSet struct {
	path   string
	number int // 0 for the first layout's, which had no folder of their own

	// Of a set that is there already.
	former   *pinSet // see pins.current
	owner    bpfOwner
	layout   uint64
	capacity int
	maps     map[string]*ebpf.Map
	counted  []bpfClientTally // by slot, see readTallies
}

// load opens what is there by whatever build.
func (s *pinSet) load() error {
	if err := s.open(mapNames()); err != nil || s.maps[bpfMapOwners] == nil {
		return err
	}
	record, err := s.maps[bpfMapOwners].LookupBytes(uint32(0))
	if err != nil {
		return fmt.Errorf("reading who runs %s: %w", s.path, err)
	}
	// Another build's may be longer or shorter: fields are only ever added.
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&s.owner)), unsafe.Sizeof(s.owner)), record)
	s.layout = s.owner.Layout
	if m := s.maps[bpfMapLocations]; m != nil {
		s.capacity = int(m.MaxEntries()) * int(m.ValueSize()) / int(unsafe.Sizeof(word{}))
	}
	return nil
}

// whole tells whether all maps are there: those of a set are removed one by one.
func (s *pinSet) whole() bool {
	if s == nil {
		return false
	}
	for _, name := range mapNames() {
		later := s.layout < 3 && (name == bpfMapAllowedPlaces || name == bpfMapPlaceRules)
		if s.layout > 1 && !later && s.maps[name] == nil {
			return false
		}
	}
	return true
}

func (s *pinSet) open(names []string) error {
	s.maps = make(map[string]*ebpf.Map)
	for _, name := range names {
		m, err := ebpf.LoadPinnedMap(filepath.Join(s.path, name), nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("opening pinned map: %w", err)
		}
		s.maps[name] = m
	}
	return nil
}

// check compares with the options, and sets those that are remembered.
func (s *pinSet) check(opts *Options) error {
	if s.layout > layoutVersion || s.layout == 0 {
		return fmt.Errorf("%w: their layout is %d, this release knows %d and older: run the release that made them",
			ErrIncompatiblePins, s.layout, layoutVersion)
	}
	if s.layout > 1 {
		here, err := netnsCookie()
		if err != nil {
			return err
		}
		if s.owner.Netns != here {
			return fmt.Errorf("%w: run in that one, or pin in another folder; if it has gone, `vlandemux detach` removes them", ErrOtherNamespace)
		}
		var defaultWorker string
		for key, record := range entries[deviceKey, bpfDevice](s.maps[bpfMapDevices], "the trunks and workers", &err) {
			if record.Flags&bpfDeviceDefaultWorker != 0 {
				defaultWorker = nameOf(key)
			}
		}
		if err != nil {
			return err
		}
		opts.remember(s.owner.Options, defaultWorker)
	}
	opts.Capacity = cmp.Or(opts.Capacity, s.capacity)
	return opts.complete()
}

// first is the earliest set that is not taken over yet.
func (s *pinSet) first() *pinSet {
	for s.former != nil {
		s = s.former
	}
	return s
}

// located is the set with the locations: its own, or those of a former one that its own refer to.
func (s *pinSet) located() (*pinSet, error) {
	if s.former == nil {
		return s, nil
	}
	var locations []word
	if err := mapMemory(&locations, s.maps[bpfMapLocations]); err != nil {
		return nil, err
	}
	refers := false
	for slot := range locations {
		refers = refers || inFormerMaps(locations[slot].Load())
	}
	if err := unmapMemory(&locations); err != nil || !refers {
		return s, err
	}
	return s.former.located()
}

func (s *pinSet) close() error {
	if s == nil {
		return nil
	}
	errs := []error{s.former.close()}
	for _, m := range s.maps {
		errs = append(errs, m.Close())
	}
	s.maps = nil
	return errors.Join(errs...)
}

// remove removes the pins of the set; what is in use by programs goes with them. Without the owner's, which is the
// first, the set is not whole.
func (s *pinSet) remove() error {
	names := mapNames()
	if s.number == 0 {
		names = firstLayoutNames()
	}
	var errs []error
	for _, name := range slices.Backward(names) {
		if err := os.Remove(filepath.Join(s.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing pin: %w", err))
		}
	}
	if s.number != 0 {
		// With pins of others in it, it stays.
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, fmt.Errorf("removing the folder of the maps: %w", err))
		}
	}
	return errors.Join(errs...)
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
