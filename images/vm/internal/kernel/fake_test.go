package kernel

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// fakeModule returns an ELF file whose .modinfo says that it depends on other modules.
func fakeModule(depends ...string) []byte {
	info := "license=GPL\x00depends=" + strings.Join(depends, ",") + "\x00name=irrelevant\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	const headerSize, sectionSize = 64, 64
	infoAt := uint64(headerSize)
	namesAt := infoAt + uint64(len(info))
	sectionsAt := namesAt + uint64(len(names))

	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v) // a buffer takes everything
		}
	}
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	// relocatable, x86-64, version, entry, program headers, section headers, flags, sizes and numbers
	put(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), sectionsAt, uint32(0),
		uint16(headerSize), uint16(0), uint16(0), uint16(sectionSize), uint16(3), uint16(2))
	b.WriteString(info)
	b.WriteString(names)
	section := func(name, kind uint32, at, size uint64) {
		put(name, kind, uint64(0), uint64(0), at, size, uint32(0), uint32(0), uint64(1), uint64(0))
	}
	section(0, 0, 0, 0)
	section(1, 1, infoAt, uint64(len(info)))
	section(10, 3, namesAt, uint64(len(names)))
	return b.Bytes()
}

// writeTree writes files below a new folder.
func writeTree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(path, content, 0o644)).To(Succeed())
	}
	return dir
}

// fakeKernel is a kernel with a few modules, as a package has it.
func fakeKernel() map[string][]byte {
	const modules = "lib/modules/6.1.0-1-amd64/"
	return map[string][]byte{
		"boot/vmlinuz-6.1.0-1-amd64":           []byte("image"),
		"boot/System.map-6.1.0-1-amd64":        []byte("map"),
		modules + "modules.builtin":            []byte("kernel/net/sched/sch_fq_codel.ko\n"),
		modules + "kernel/net/bridge.ko":       fakeModule("stp", "llc"),
		modules + "kernel/net/stp.ko":          fakeModule("llc"),
		modules + "kernel/net/llc.ko":          fakeModule(),
		modules + "kernel/net/8021q.ko":        fakeModule("sch-fq-codel"),
		modules + "kernel/net/act_bpf.ko":      fakeModule(),
		modules + "kernel/net/circle-a.ko":     fakeModule("circle_b"),
		modules + "kernel/net/circle-b.ko":     fakeModule("circle_a"),
		modules + "kernel/net/needs-absent.ko": fakeModule("absent"),
	}
}
