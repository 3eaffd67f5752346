package kernel

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// keepUnused is how long a kernel that nobody boots stays in the store.
const keepUnused = 30 * 24 * time.Hour

// format changes whenever what is stored for the same kernel and modules does.
const format = "1"

// Names of the files of an entry.
const (
	imageFile   = "vmlinuz"
	modulesFile = "modules.cpio"
)

// Store keeps prepared kernels in a folder, about 20 MB each: image and module archive, not the packages they came
// from. Several processes may use one folder at the same time: entries appear and disappear whole.
type Store struct {
	// Dir is made when needed.
	Dir string
}

// UserStore returns the store in the user's cache folder ($XDG_CACHE_HOME, else ~/.cache).
func UserStore() (*Store, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("looking for a folder to keep kernels in: %w", err)
	}
	return &Store{Dir: filepath.Join(cache, "vlandemux", "vm")}, nil
}

var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9.+_-]+`)

// key names the entry of a kernel with modules. Source is readable and tells one kernel from every other.
func key(source string, modules Modules) string {
	all := []string{format, source, strings.Join(modules.Boot, " "), strings.Join(modules.Late, " ")}
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	return fmt.Sprintf("%s-%x", unsafeInName.ReplaceAllString(source, "_"), sum[:6])
}

// open returns the kernel stored under a key, or an error that is [os.ErrNotExist].
func (s *Store) open(key, name string) (*Boot, error) {
	dir := filepath.Join(s.Dir, key)
	image, err := os.Open(filepath.Join(dir, imageFile))
	if err != nil {
		return nil, err
	}
	archive, err := os.Open(filepath.Join(dir, modulesFile))
	if err != nil {
		image.Close()
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // says that it is in use; in a store one may only read, nobody cleans up either
	return &Boot{Name: name, From: "cached", Image: image, Modules: archive}, nil
}

// openOr returns the kernel stored under a key, or has it made: prepare is given an empty folder, in which it may do
// what it likes, and returns the tree to take the kernel from.
func (s *Store) openOr(ctx context.Context, key, name string, modules Modules, notice func(string),
	prepare func(dir string) (*tree, error),
) (*Boot, error) {
	boot, err := s.open(key, name)
	if !errors.Is(err, os.ErrNotExist) {
		return boot, err
	}
	unlock, err := s.lock(ctx, notice)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if boot, err = s.open(key, name); !errors.Is(err, os.ErrNotExist) {
		return boot, err // made by another process while we waited
	}

	scratch, err := os.MkdirTemp(s.scratch(), "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	tree, err := prepare(scratch)
	if err != nil {
		return nil, err
	}
	if err := s.put(scratch, key, tree, modules); err != nil {
		return nil, fmt.Errorf("preparing kernel %s: %w", name, err)
	}
	boot, err = s.open(key, name)
	if err == nil {
		boot.From = "fetched"
	}
	return boot, err
}

func (s *Store) put(scratch, key string, tree *tree, modules Modules) error {
	entry := filepath.Join(scratch, "entry")
	if err := os.Mkdir(entry, 0o755); err != nil {
		return err
	}
	archive, err := os.Create(filepath.Join(entry, modulesFile))
	if err != nil {
		return err
	}
	if err := errors.Join(tree.archive(archive, modules), archive.Close()); err != nil {
		return err
	}
	if err := os.Rename(tree.image, filepath.Join(entry, imageFile)); err != nil {
		return err
	}
	return os.Rename(entry, filepath.Join(s.Dir, key))
}

// scratch is where entries are made. Only the holder of the lock has anything there.
func (s *Store) scratch() string { return filepath.Join(s.Dir, "tmp") }

// lock waits until no other process fetches, and removes what killed ones left and entries long unused.
func (s *Store) lock(ctx context.Context, notice func(string)) (unlock func(), err error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making a folder to keep kernels in: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", s.Dir, err)
	}
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		notice("waiting for another run that is preparing a kernel")
		if err := waitLock(ctx, file); err != nil {
			return nil, fmt.Errorf("locking %s: %w", s.Dir, err)
		}
	}
	if err := s.clean(); err != nil {
		file.Close()
		return nil, fmt.Errorf("cleaning up %s: %w", s.Dir, err)
	}
	return func() { file.Close() }, nil
}

// waitLock waits for an exclusive lock on file, or closes it.
func waitLock(ctx context.Context, file *os.File) error {
	locked := make(chan error)
	go func() {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		select {
		case locked <- err:
		case <-ctx.Done(): // nobody wants it any more
			file.Close()
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			file.Close()
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// clean removes what killed processes left, and entries long unused.
func (s *Store) clean() error {
	if err := os.RemoveAll(s.scratch()); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || time.Since(info.ModTime()) < keepUnused {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.Dir, entry.Name(), imageFile)); err != nil {
			continue // not one of ours
		}
		if err := os.RemoveAll(filepath.Join(s.Dir, entry.Name())); err != nil {
			return err
		}
	}
	return os.Mkdir(s.scratch(), 0o755)
}
