package initramfs

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

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
