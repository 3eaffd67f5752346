package images

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// Pack makes an image of programs of this machine, with the shared libraries they need, loads it and returns its ID. Each is in the image where
// it is here.
func Pack(ctx context.Context, e *engine.Engine, name string, programs ...string) (string, error) {
	files := map[string]string{} // path in the image → the file here
	for _, program := range programs {
		if err := packFile(files, program, e.Version().Arch); err != nil {
			return "", fmt.Errorf("packing image %s: %w", name, err)
		}
	}
	var entries []tarEntry
	for path, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("packing image %s: %w", name, err)
		}
		entries = append(entries, tarEntry{name: strings.TrimPrefix(path, "/"), mode: 0o755, data: data})
	}
	slices.SortFunc(entries, func(a, b tarEntry) int { return strings.Compare(a.name, b.name) })
	return ensure(ctx, e, func(string) {}, newImage(Program{Name: name}, e.Version().Arch, entries))
}

// packFile adds an ELF file and everything it needs.
func packFile(files map[string]string, path, arch string) error {
	if files[path] != "" {
		return nil
	}
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	program, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	defer program.Close() //nolint:errcheck // only read
	if err := CheckArch(program, arch); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	files[path] = file
	if section := program.Section(".interp"); section != nil {
		loader, err := section.Data()
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if err := packFile(files, strings.TrimRight(string(loader), "\x00"), arch); err != nil {
			return err
		}
	}
	libraries, err := program.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("reading what %s needs: %w", path, err)
	}
	for _, library := range libraries {
		found, err := findLibrary(library)
		if err != nil {
			return fmt.Errorf("%s needs %s: %w", path, library, err)
		}
		if err := packFile(files, found, arch); err != nil {
			return err
		}
	}
	return nil
}

// findLibrary looks where the dynamic loader does by itself, and in Debian's folders.
func findLibrary(name string) (string, error) {
	for _, pattern := range []string{"/lib/*-linux-gnu*/", "/lib64/", "/lib/", "/usr/lib/*-linux-gnu*/", "/usr/lib64/", "/usr/lib/"} {
		if found, _ := filepath.Glob(pattern + name); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", errors.New("it is in none of this machine's library folders")
}
