// Package kernel finds a kernel to boot and turns it into what a machine boots from: the image, and an initramfs
// archive of the modules that are wanted. Kernels come from the distribution, from a package file or from a folder.
package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vlandemux/vlandemux/images/vm/internal/initramfs"
	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

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
