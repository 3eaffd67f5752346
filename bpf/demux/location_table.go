package demux

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// locationTable is the locations map, mapped into memory: the programs change
// a word at any time, so it is read and cleared with atomic operations only.
type locationTable struct {
	memory  []byte
	entries int
}

func mapLocations(m *ebpf.Map) (*locationTable, error) {
	page := unix.Getpagesize()
	entries := int(m.MaxEntries())
	size := (entries*8 + page - 1) / page * page
	memory, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping locations into memory: %w", err)
	}
	return &locationTable{memory: memory, entries: entries}, nil
}

func (t *locationTable) word(slot uint32) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&t.memory[int(slot)*8]))
}

func (t *locationTable) get(slot uint32) Location {
	return unpackLocation(t.word(slot).Load())
}

// clear may only be called while no client has the slot.
func (t *locationTable) clear(slot uint32) {
	t.word(slot).Store(0)
}

// clearTrunk forgets the locations on a trunk that nothing is learned on any
// more, and no other: a client may be seen elsewhere at this very moment.
func (t *locationTable) clearTrunk(ifindex int) {
	if t == nil {
		return
	}
	for slot := range uint32(t.entries) {
		word := t.word(slot)
		if seen := word.Load(); seen != 0 && unpackLocation(seen).Trunk == ifindex {
			word.CompareAndSwap(seen, 0)
		}
	}
}

func (t *locationTable) unmap() error {
	if t == nil || t.memory == nil {
		return nil
	}
	memory := t.memory
	t.memory = nil
	return unix.Munmap(memory)
}
