package demux

import (
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// mapMemory maps an array map into memory, as a slice of what its values are made of: reading and
// writing them takes no system call. The size of T must be a multiple of 8, and that of a value one of T's.
func mapMemory[T any](into *[]T, m *ebpf.Map) error {
	var part T
	size := int(unsafe.Sizeof(part))
	entries := int(m.MaxEntries()) * int(m.ValueSize()) / size
	if m.ValueSize()%uint32(size) != 0 {
		return fmt.Errorf("mapping %v into memory: values have %d octets, not a multiple of %d", m, m.ValueSize(), size)
	}
	page := unix.Getpagesize()
	memory, err := unix.Mmap(m.FD(), 0, (entries*size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping %v into memory: %w", m, err)
	}
	*into = unsafe.Slice((*T)(unsafe.Pointer(&memory[0])), entries)
	return nil
}

func unmapMemory[T any](values *[]T) error {
	if *values == nil {
		return nil
	}
	first, size := &(*values)[0], len(*values)*int(unsafe.Sizeof((*values)[0]))
	*values = nil
	page := unix.Getpagesize()
	return unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(first)), (size+page-1)/page*page))
}
