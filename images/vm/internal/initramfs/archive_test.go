package initramfs

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cavaliergopher/cpio"
	. "github.com/onsi/gomega"
)

// entry is what an archive holds.
type entry struct {
	Name    string
	Mode    cpio.FileMode
	Content string
}

// read returns what is in an archive.
func read(t *testing.T, r io.Reader) []entry {
	t.Helper()
	g := NewWithT(t)
	var entries []entry
	for archive := cpio.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		g.Expect(err).NotTo(HaveOccurred())
		content, err := io.ReadAll(archive)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(header.Links).To(Equal(1), "the kernel takes more links for hard links")
		entries = append(entries, entry{header.Name, header.Mode, string(content)})
	}
}

func TestDirectoriesComeBeforeWhatIsInThem(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	g.Expect(Write(&b, []File{
		{Path: "/init", Executable: true, Content: []byte("#!")},
		{Path: "/vm/modules/a.ko", Content: []byte("a")},
		{Path: "/vm/modules/b.ko"},
	})).To(Succeed())
	g.Expect(read(t, &b)).To(Equal([]entry{
		{"init", cpio.TypeReg | 0o755, "#!"},
		{"vm", cpio.TypeDir | 0o755, ""},
		{"vm/modules", cpio.TypeDir | 0o755, ""},
		{"vm/modules/a.ko", cpio.TypeReg | 0o644, "a"},
		{"vm/modules/b.ko", cpio.TypeReg | 0o644, ""},
	}))
}

func TestAnArchiveEndsWhereAnotherMayBegin(t *testing.T) {
	for size := range 9 {
		g := NewWithT(t)
		var b bytes.Buffer
		g.Expect(Write(&b, []File{{Path: "/file", Content: make([]byte, size)}})).To(Succeed())
		g.Expect(b.Len()%4).To(BeZero(), "the kernel looks for the next archive at a multiple of 4; content of %d octets", size)
	}
}

func TestAFileInMemoryIsRewound(t *testing.T) {
	g := NewWithT(t)
	file, err := InMemory("test", func(w io.Writer) error {
		return Write(w, []File{{Path: "/a", Content: []byte("x")}})
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	g.Expect(read(t, file)).To(HaveLen(1))
}
