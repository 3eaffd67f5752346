package kernel

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	. "github.com/onsi/gomega"
	"github.com/ulikunitz/xz"
)

// order returns the names of a list's modules in loading order.
func order(t *testing.T, list ...string) ([]string, error) {
	t.Helper()
	g := NewWithT(t)
	tree, err := openTree(writeTree(t, fakeKernel()))
	g.Expect(err).NotTo(HaveOccurred())
	modules, err := newResolver(tree, list).order(list)
	var names []string
	for _, module := range modules {
		names = append(names, module.name)
	}
	return names, err
}

func TestAModuleComesAfterWhatItDependsOn(t *testing.T) {
	g := NewWithT(t)
	g.Expect(order(t, "bridge")).To(Equal([]string{"llc", "stp", "bridge"}))
}

func TestAModuleIsLoadedOnce(t *testing.T) {
	g := NewWithT(t)
	g.Expect(order(t, "llc", "bridge", "stp", "bridge")).To(Equal([]string{"llc", "stp", "bridge"}))
}

func TestAModuleBuiltInIsThere(t *testing.T) {
	g := NewWithT(t)
	g.Expect(order(t, "sch_fq_codel", "8021q")).To(Equal([]string{"8021q"}))
}

func TestDashesAndUnderscoresAreTheSame(t *testing.T) {
	g := NewWithT(t)
	g.Expect(order(t, "act-bpf")).To(Equal([]string{"act_bpf"}))
}

func TestAModuleWithAQuestionMarkMayBeMissing(t *testing.T) {
	g := NewWithT(t)
	g.Expect(order(t, "sch_nonsuch?", "act-bpf?")).To(Equal([]string{"act_bpf"}))
}

func TestEveryMissingModuleIsNamed(t *testing.T) {
	g := NewWithT(t)
	_, err := order(t, "bridge", "sch_nonsuch", "needs_absent")
	g.Expect(err).To(MatchError(ErrMissingModule))
	g.Expect(err).To(MatchError(ContainSubstring("module sch_nonsuch: ")))
	g.Expect(err).To(MatchError(ContainSubstring("module needs_absent → absent: ")))
}

func TestACircleOfModulesIsReported(t *testing.T) {
	g := NewWithT(t)
	_, err := order(t, "circle_a")
	g.Expect(err).To(MatchError(ContainSubstring("circle_a → circle_b → circle_a")))
}

func TestTheArchiveHoldsModulesInLoadingOrderWithTheirOptions(t *testing.T) {
	g := NewWithT(t)
	tree, err := openTree(writeTree(t, fakeKernel()))
	g.Expect(err).NotTo(HaveOccurred())
	var archive bytes.Buffer
	g.Expect(tree.archive(&archive, Modules{Boot: []string{"llc"}, Late: []string{"bridge ageing=0 x=1", "act_bpf"}})).To(Succeed())

	contents := map[string]string{}
	var names []string
	for r := cpio.NewReader(&archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
		if header.Mode&cpio.TypeDir != 0 {
			continue
		}
		content, err := io.ReadAll(r)
		g.Expect(err).NotTo(HaveOccurred())
		names = append(names, header.Name)
		contents[header.Name] = string(content)
	}
	g.Expect(names).To(Equal([]string{
		"vm/modules/boot/000-llc.ko", "vm/modules/late/000-stp.ko", "vm/modules/late/001-bridge.ko",
		"vm/modules/late/001-bridge.ko.options", "vm/modules/late/002-act_bpf.ko",
	}))
	g.Expect(contents).To(HaveKeyWithValue("vm/modules/late/001-bridge.ko.options", "ageing=0 x=1"))
	g.Expect(contents).To(HaveKeyWithValue("vm/modules/late/000-stp.ko", string(fakeModule("llc"))))
}

func TestModulesMayBeCompressed(t *testing.T) {
	module := fakeModule("llc")
	for suffix, pack := range map[string]func(io.Writer) (io.WriteCloser, error){
		".xz":  func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		".zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		".gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	} {
		t.Run(suffix, func(t *testing.T) {
			g := NewWithT(t)
			var packed bytes.Buffer
			w, err := pack(&packed)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = w.Write(module)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.Close()).To(Succeed())

			tree, err := openTree(writeTree(t, map[string][]byte{"vmlinuz": nil, "stp.ko" + suffix: packed.Bytes(), "llc.ko": fakeModule()}))
			g.Expect(err).NotTo(HaveOccurred())
			modules, err := newResolver(tree).order([]string{"stp"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(modules).To(HaveLen(2))
			g.Expect(modules[1].content).To(Equal(module))
		})
	}
}

func TestAFolderThatIsNoKernel(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string][]byte
		says  string
	}{
		"no image":      {map[string][]byte{"stp.ko": nil}, "no file there is called vmlinuz"},
		"no modules":    {map[string][]byte{"vmlinuz": nil}, "no file there ends in .ko"},
		"two images":    {map[string][]byte{"vmlinuz-1": nil, "vmlinuz-2": nil, "stp.ko": nil}, "there are two kernels"},
		"two of a name": {map[string][]byte{"vmlinuz": nil, "1/a-b.ko": nil, "2/a_b.ko.xz": nil}, "the module a_b is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := openTree(writeTree(t, test.files))
			g.Expect(err).To(MatchError(ContainSubstring(test.says)))
		})
	}
}

func TestAFileThatIsNoModule(t *testing.T) {
	g := NewWithT(t)
	tree, err := openTree(writeTree(t, map[string][]byte{"vmlinuz": nil, "stp.ko": []byte("not ELF")}))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = newResolver(tree).order([]string{"stp"})
	g.Expect(err).To(MatchError(And(ContainSubstring("stp.ko"), ContainSubstring("reading a kernel module"))))
}
