package agent

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// What of a map is written at most.
const (
	dumpedEntries = 2_000 // lines
	readEntries   = 200_000
	dumpedOctets  = 64 // in a line: a value that is an array has many
)

// dumpBPF writes the programs and maps that the demux's processes hold and those it has pinned, for people.
func (h *host) dumpBPF() string {
	var w strings.Builder
	held := map[string]map[uint32]bool{bpfProgram: {}, bpfMap: {}, bpfLink: {}}
	for _, pid := range h.demux.processes() {
		if err := eachBPF(pid, func(kind string, id uint32) { held[kind][id] = true }); err != nil {
			fmt.Fprintf(&w, "listing what process %d holds: %v\n", pid, err)
		}
	}
	addPinned(&w, held)
	for _, id := range slices.Sorted(maps.Keys(held[bpfProgram])) {
		if err := dumpProgram(&w, held[bpfMap], ebpf.ProgramID(id)); err != nil {
			fmt.Fprintf(&w, "\n== program %d: %v\n", id, err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(held[bpfMap])) {
		if err := dumpMap(&w, ebpf.MapID(id)); err != nil {
			fmt.Fprintf(&w, "\n== map %d: %v\n", id, err)
		}
	}
	return w.String()
}

// addPinned adds the programs and maps below the container's BPF file system, and lists its pins.
func addPinned(w *strings.Builder, held map[string]map[uint32]bool) {
	err := filepath.WalkDir(bpffsPath, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !entry.Type().IsRegular() || strings.HasSuffix(path, ".debug") {
			return err
		}
		what := ""
		if m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true}); err == nil {
			defer m.Close() //nolint:errcheck // only looked at
			if info, err := m.Info(); err == nil {
				id, _ := info.ID()
				held[bpfMap][uint32(id)] = true
				what = fmt.Sprintf(": map %d %s", id, info.Name)
			}
		} else if p, err := ebpf.LoadPinnedProgram(path, nil); err == nil {
			defer p.Close() //nolint:errcheck // only looked at
			if info, err := p.Info(); err == nil {
				id, _ := info.ID()
				held[bpfProgram][uint32(id)] = true
				what = fmt.Sprintf(": program %d %s", id, info.Name)
			}
		}
		fmt.Fprintf(w, "pin %s%s\n", path, what)
		return nil
	})
	if err != nil {
		fmt.Fprintf(w, "listing the pins: %v\n", err)
	}
}

// dumpProgram also adds the program's maps to those held.
func dumpProgram(w *strings.Builder, heldMaps map[uint32]bool, id ebpf.ProgramID) error {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return err
	}
	defer program.Close() //nolint:errcheck // only looked at
	info, err := program.Info()
	if err != nil {
		return err
	}
	used, _ := info.MapIDs()
	for _, m := range used {
		heldMaps[uint32(m)] = true
	}
	fmt.Fprintf(w, "\n== program %d %s: %s, tag %s, maps %v\n", id, info.Name, info.Type, info.Tag, used)
	if verified, ok := info.VerifiedInstructions(); ok {
		fmt.Fprintf(w, "the verifier looked at %d instructions\n", verified)
	}
	instructions, err := info.Instructions()
	if err != nil {
		return fmt.Errorf("reading its instructions: %w", err)
	}
	fmt.Fprintf(w, "%v\n", instructions)
	return nil
}

func dumpMap(w *strings.Builder, id ebpf.MapID) error {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // only looked at
	info, err := m.Info()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n== map %d %s: %s, key %d octets, value %d octets, room for %d\n", id, info.Name, info.Type, info.KeySize, info.ValueSize, info.MaxEntries)
	if slices.Contains([]ebpf.MapType{ebpf.RingBuf, ebpf.PerfEventArray}, info.Type) {
		return nil // what is in it was read
	}
	var key []byte
	perCPU := slices.Contains([]ebpf.MapType{ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash}, info.Type)
	entries := m.Iterate()
	empty, shown, read := 0, 0, 0
	line := func(value, offset string, zero bool) {
		switch {
		case zero:
			empty++
		case shown < dumpedEntries:
			shown++
			fmt.Fprintf(w, "%s%s: %s\n", hex.EncodeToString(key), offset, value)
		default:
			shown++
		}
	}
	if perCPU {
		var values [][]byte
		for ; read < readEntries && entries.Next(&key, &values); read++ {
			zero := true
			var texts []string
			for _, v := range values {
				zero = zero && allZero(v)
				texts = append(texts, hex.EncodeToString(v))
			}
			line(strings.Join(texts, " | "), "", zero)
		}
	} else {
		var value []byte
		for ; read < readEntries && entries.Next(&key, &value); read++ {
			if len(value) <= dumpedOctets {
				line(hex.EncodeToString(value), "", allZero(value))
				continue
			}
			offset := 0
			for part := range slices.Chunk(value, dumpedOctets) {
				line(hex.EncodeToString(part), fmt.Sprintf(" at %d", offset), allZero(part))
				offset += len(part)
			}
		}
	}
	if more := shown - dumpedEntries; more > 0 {
		fmt.Fprintf(w, "and %d lines more\n", more)
	}
	if empty > 0 {
		fmt.Fprintf(w, "and %d lines of zeros\n", empty)
	}
	if read == readEntries {
		fmt.Fprintf(w, "there may be more: only %d were read\n", read)
	}
	return entries.Err()
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
