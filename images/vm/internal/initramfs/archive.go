// Package initramfs writes the archives that Linux unpacks into its first file system, and keeps them in memory.
package initramfs

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sys/unix"
)

// File is a regular file of an archive.
type File struct {
	// Path is absolute. The directories above it are made.
	Path string
	// Executable gives the file mode 0755 instead of 0644.
	Executable bool
	Content    []byte
}

// Write writes the files as one archive. Archives may be put behind each other: the kernel unpacks them all, in order.
func Write(w io.Writer, files []File) error {
	archive := cpio.NewWriter(w)
	inode := int64(0)
	add := func(header cpio.Header, content []byte) error {
		inode++
		header.Inode = inode
		header.Links = 1
		header.Size = int64(len(content))
		if err := archive.WriteHeader(&header); err != nil {
			return fmt.Errorf("writing %s to an initramfs: %w", header.Name, err)
		}
		if _, err := archive.Write(content); err != nil {
			return fmt.Errorf("writing %s to an initramfs: %w", header.Name, err)
		}
		return nil
	}

	made := map[string]bool{".": true}
	for _, file := range files {
		name := strings.TrimPrefix(path.Clean("/"+file.Path), "/")
		for _, dir := range parents(name) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := add(cpio.Header{Name: dir, Mode: cpio.TypeDir | 0o755}, nil); err != nil {
				return err
			}
		}
		mode := cpio.FileMode(cpio.TypeReg | 0o644)
		if file.Executable {
			mode = cpio.TypeReg | 0o755
		}
		if err := add(cpio.Header{Name: name, Mode: mode}, file.Content); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("finishing an initramfs: %w", err)
	}
	return nil
}

// parents returns the directories above name, outermost first.
func parents(name string) []string {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	return append(parents(dir), dir)
}

// InMemory returns a file that has no name and no place on a disk: it is gone once nobody holds it open.
// Write fills it; it is returned rewound. The caller closes it.
func InMemory(name string, write func(io.Writer) error) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if err = write(file); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
