package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

// loadModules loads the kernel modules in a directory in the order of their names, and removes the directory: an initramfs
// stays in memory as long as the machine runs.
func loadModules(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil // all of them are built into this kernel
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), protocol.ModuleOptions) {
			continue
		}
		if err := loadModule(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

func loadModule(path string) error {
	options, err := os.ReadFile(path + protocol.ModuleOptions)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), string(options), 0); err != nil {
		return fmt.Errorf("loading kernel module %s: %w", filepath.Base(path), err)
	}
	return nil
}
