// Package kernel finds a kernel to boot and turns it into what a machine boots from: the image, and an initramfs
// archive of the modules that are wanted. Kernels come from the distribution, from a package file or from a folder.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vlandemux/vlandemux/images/vm/internal/initramfs"
	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

var seriesPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// Open finds the kernel that spec names and prepares it:
//   - a series such as 6.1: the newest kernel of it in the package index of this machine's apt, or of sources, lines
//     of sources.list(5), if there are any. Fetched once, see [Store];
//   - the path of a package file (.deb);
//   - the path of a folder with a kernel (vmlinuz, vmlinuz-VERSION or bzImage) and its modules. Never cached.
//
// Notice is called with a line for the user before anything that may take long.
func Open(ctx context.Context, store *Store, spec, sources string, modules Modules, notice func(string)) (*Boot, error) {
	if seriesPattern.MatchString(spec) {
		return openSeries(ctx, store, spec, sources, modules, notice)
	}
	info, err := os.Stat(spec)
	switch {
	case err != nil:
		return nil, fmt.Errorf("looking for kernel %q: it is neither a series such as 6.1 nor the path of a .deb or of a folder: %w", spec, err)
	case info.IsDir():
		return openFolder(spec, modules)
	case strings.HasSuffix(spec, ".deb"):
		return openPackage(ctx, store, spec, modules, notice)
	default:
		return nil, fmt.Errorf("looking for kernel %q: the file is not a .deb; pass a .deb, a folder with vmlinuz and modules, or a series such as 6.1", spec)
	}
}

func openFolder(dir string, modules Modules) (*Boot, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	tree, err := openTree(resolved)
	if err != nil {
		return nil, err
	}
	archive, err := initramfs.InMemory("modules.cpio", func(w io.Writer) error { return tree.archive(w, modules) })
	if err != nil {
		return nil, fmt.Errorf("collecting the modules of %s: %w", tree.image, err)
	}
	image, err := os.Open(tree.image)
	if err != nil {
		archive.Close()
		return nil, err
	}
	return &Boot{Name: tree.image, From: "folder", Image: image, Modules: archive}, nil
}

// Boot is a kernel ready to be booted. The caller closes it.
type Boot struct {
	// Name tells a person which kernel this is: the package and its version, or the path of the folder.
	Name string
	// From is where it came from: "cached", "fetched", …
	From string
	// Image is the bootable kernel.
	Image *os.File
	// Modules is an initramfs archive.
	Modules *os.File
}

// Close releases the files.
func (b *Boot) Close() error { return errors.Join(b.Image.Close(), b.Modules.Close()) }

// archive writes the modules as an initramfs archive, their file names in loading order.
func (t *tree) archive(w io.Writer, modules Modules) error {
	resolver := newResolver(t, modules.Boot, modules.Late)
	var files []initramfs.File
	for _, list := range []struct {
		dir     string
		entries []string
	}{{protocol.BootModules, modules.Boot}, {protocol.LateModules, modules.Late}} {
		ordered, err := resolver.order(list.entries)
		if err != nil {
			return err
		}
		for i, module := range ordered {
			path := fmt.Sprintf("%s/%03d-%s.ko", list.dir, i, module.name)
			files = append(files, initramfs.File{Path: path, Content: module.content})
			if module.options != "" {
				files = append(files, initramfs.File{Path: path + protocol.ModuleOptions, Content: []byte(module.options)})
			}
		}
	}
	return initramfs.Write(w, files)
}
