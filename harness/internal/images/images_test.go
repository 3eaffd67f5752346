package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// standin is a program made from a module of its own, so that these tests compile next to nothing.
func standin() Program {
	return Program{Name: "images-test", Packages: []string{module + "/harness/internal/engine/testdata/standin"}, Entrypoint: []string{"/standin"}}
}

// one is that program of an image.
func one(binary []byte) []tarEntry { return []tarEntry{{name: "standin", mode: 0o755, data: binary}} }

func connect(t *testing.T) *engine.Engine {
	t.Helper()
	g := NewWithT(t)
	e, err := engine.Connect(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// unique is an image that no engine has: a program, if any, with random octets behind it.
func unique(t *testing.T, e *engine.Engine, label string, program ...byte) *builtImage {
	t.Helper()
	layer := newImage(standin(), e.Version().Arch, one(append(program, rand.Text()...))).layer
	img := newLabelledImage(standin(), e.Version().Arch, layer, label)
	t.Cleanup(func() {
		_, _ = e.RemoveImage(context.Background(), engine.Image{ID: img.id, Names: []string{img.tag()}})
	})
	return img
}

func TestImageIsPredictedLoadedOnceAndFoundAgain(t *testing.T) {
	g := NewWithT(t)
	e := connect(t)
	img := unique(t, e, Label)
	g.Expect(find(t.Context(), e, img)).To(BeEmpty())

	var said []string
	say := func(text string) { said = append(said, text) }
	id, err := ensure(t.Context(), e, say, img)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(said).To(Equal([]string{"loading image " + img.tag()}))
	found, ok, err := e.HasImage(t.Context(), id)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ok).To(BeTrue())
	g.Expect(found.Layers).To(Equal([]string{img.diffID}))
	g.Expect(found.Names).To(Equal([]string{img.tag()}))
	g.Expect(found.Labels).To(HaveKeyWithValue(Label, "images-test"))
	if strings.HasPrefix(id, img.id) {
		g.Expect(id).To(Equal(img.id), "as predicted")
	}

	said = nil
	g.Expect(ensure(t.Context(), e, say, img)).To(Equal(id))
	g.Expect(said).To(BeEmpty(), "what the engine has is not loaded again")
}

func TestSameSourceInTwoFoldersGivesTheSameImage(t *testing.T) {
	g := NewWithT(t)
	// Two copies of a small module, since two clones of this one would be compiled from nothing.
	source, err := filepath.Abs("../engine/testdata/standin")
	g.Expect(err).NotTo(HaveOccurred())
	var ids []string
	for _, folder := range []string{t.TempDir(), filepath.Join(t.TempDir(), "another", "place")} {
		g.Expect(os.CopyFS(folder, os.DirFS(source))).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module "+module+"\n\ngo 1.26\n"), 0o600)).To(Succeed())
		t.Chdir(folder)
		t.Setenv("GOFLAGS", "-race -ldflags=-X=main.x="+folder) // has no say
		program := standin()
		program.Packages = []string{module}
		out := t.TempDir()
		g.Expect(compile(t.Context(), out, "amd64", []Program{program})).To(Succeed())
		binary, err := os.ReadFile(filepath.Join(out, filepath.Base(module)))
		g.Expect(err).NotTo(HaveOccurred())
		ids = append(ids, newImage(program, "amd64", one(binary)).id)
	}
	g.Expect(ids[1]).To(Equal(ids[0]))
	g.Expect(newImage(standin(), "amd64", one([]byte("another program"))).id).NotTo(Equal(ids[0]))
}

func TestArchiveHoldsNothingOfItsTimeOrMaker(t *testing.T) {
	g := NewWithT(t)
	made := Program{Name: "images-test", Packages: []string{module + "/harness/engine/testdata/standin"}, Entrypoint: []string{"/standin"}}
	img := newImage(made, "amd64", one([]byte("program")))
	archive, err := io.ReadAll(img.archive())
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(header.ModTime.Unix()).To(BeZero())
		g.Expect(header.Format).To(Equal(tar.FormatUSTAR))
		g.Expect(header.Uid + header.Gid).To(BeZero())
		g.Expect(header.Uname + header.Gname).To(BeEmpty())
		names = append(names, header.Name)
	}
	g.Expect(names).To(Equal([]string{img.id[7:] + ".json", img.diffID[7:] + "/layer.tar", "manifest.json"}))
	g.Expect(string(img.config)).To(ContainSubstring(`"created":"1970-01-01T00:00:00Z"`))
	// The image of this very program, for ever: a change of layout changes the IDs of all images, which should not happen unnoticed.
	g.Expect(img.id).To(Equal("sha256:a7280557376a6174ef46e3333431ef50a78a09848c674100b1bf1b5938155156"))
}

func TestReadyMadeProgramsAreUsed(t *testing.T) {
	g := NewWithT(t)
	e := connect(t)
	folder := t.TempDir()
	t.Setenv(Folder, folder)
	_, err := EnsurePrograms(t.Context(), e, nil, standin())
	g.Expect(err).To(MatchError(And(ContainSubstring(filepath.Join(folder, "standin")), ContainSubstring(Folder))))

	g.Expect(os.WriteFile(filepath.Join(folder, "standin"), []byte("#!/bin/sh"), 0o600)).To(Succeed())
	_, err = EnsurePrograms(t.Context(), e, nil, standin())
	g.Expect(err).To(MatchError(And(ContainSubstring("not a Linux program"), ContainSubstring("GOARCH="+e.Version().Arch))))

	g.Expect(os.Remove(filepath.Join(folder, "standin"))).To(Succeed())
	g.Expect(compile(t.Context(), folder, e.Version().Arch, []Program{standin()})).To(Succeed())
	t.Setenv("PATH", "") // no go command: nothing is compiled
	var said []string
	ids, err := EnsurePrograms(t.Context(), e, func(text string) { said = append(said, text) }, standin())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids).To(HaveLen(1))
	g.Expect(said).NotTo(ContainElement(ContainSubstring("compiling")))
}

func TestTheOperatorsProgramHoldsNothingOfTheHarness(t *testing.T) {
	g := NewWithT(t)
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"/images/host/vlandemux")
	out, err := list.Output()
	g.Expect(err).NotTo(HaveOccurred())
	packages := strings.Fields(string(out))
	g.Expect(packages).To(ContainElement(module + "/bpf/demux"))
	g.Expect(packages).NotTo(ContainElement(Or(HavePrefix(module+"/harness"), ContainSubstring("gopacket"), ContainSubstring("docker"), Equal("testing"))))
}

func TestProgramsThatCannotRunInAnImageAreNamed(t *testing.T) {
	g := NewWithT(t)
	folder := t.TempDir()
	g.Expect(compile(t.Context(), folder, "arm64", []Program{standin()})).To(Succeed())
	binary, err := os.ReadFile(filepath.Join(folder, "standin"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(checkBinary(binary, "arm64")).To(Succeed())
	g.Expect(checkBinary(binary, "amd64")).To(MatchError(ContainSubstring("GOARCH=amd64")))

	// The go command's neighbours: a program that is linked dynamically, of this machine.
	for _, path := range []string{"/bin/sh", "/usr/bin/env"} {
		if binary, err = os.ReadFile(path); err == nil {
			break
		}
	}
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(checkBinary(binary, runtime.GOARCH)).To(MatchError(ContainSubstring("CGO_ENABLED=0")))
}

func TestMissingSourceSaysWhatToDo(t *testing.T) {
	t.Run("no go command", func(t *testing.T) {
		g := NewWithT(t)
		t.Setenv("PATH", "")
		err := compile(t.Context(), t.TempDir(), "amd64", []Program{standin()})
		g.Expect(err).To(MatchError(ErrNoSource))
		g.Expect(err).To(MatchError(And(ContainSubstring("install Go"), ContainSubstring(Folder))))
	})
	t.Run("outside the module", func(t *testing.T) {
		g := NewWithT(t)
		folder := t.TempDir()
		t.Chdir(folder)
		_, err := sourceFolder(t.Context(), "go", folder, ".", folder+"/gone")
		g.Expect(err).To(MatchError(ErrNoSource))
		g.Expect(err).To(MatchError(And(ContainSubstring("inside a clone of "+module), ContainSubstring(Folder))))
	})
	t.Run("elsewhere, but compiled from source that is still there", func(t *testing.T) {
		g := NewWithT(t)
		t.Chdir(t.TempDir())
		out := t.TempDir()
		g.Expect(compile(t.Context(), out, runtime.GOARCH, []Program{standin()})).To(Succeed())
		g.Expect(filepath.Join(out, "standin")).To(BeAnExistingFile())
	})
	t.Run("a full disk", func(t *testing.T) {
		g := NewWithT(t)
		fake := filepath.Join(t.TempDir(), "go")
		g.Expect(os.WriteFile(fake, []byte("#!/bin/sh\n[ $1 = list ] && exec pwd\necho '# x'; echo 'link: mapping output file failed: no space left on device'; exit 1\n"), 0o755)).
			To(Succeed())
		t.Setenv("PATH", filepath.Dir(fake)+":"+os.Getenv("PATH"))
		err := compile(t.Context(), t.TempDir(), runtime.GOARCH, []Program{standin()})
		g.Expect(err).To(MatchError(syscall.ENOSPC))
		g.Expect(err).To(MatchError(And(ContainSubstring("set TMPDIR and GOCACHE"), Not(ContainSubstring("\n")))))
	})
	t.Run("source that does not compile", func(t *testing.T) {
		g := NewWithT(t)
		err := compile(t.Context(), t.TempDir(), runtime.GOARCH, []Program{{Packages: []string{module + "/no/such/package"}}})
		g.Expect(err).To(MatchError(ContainSubstring("no/such/package")))
	})
	t.Run("cancelled", func(t *testing.T) {
		g := NewWithT(t)
		stop := errors.New("the user has left")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stop)
		g.Expect(compile(ctx, t.TempDir(), runtime.GOARCH, []Program{standin()})).To(MatchError(stop))
	})
}

func TestPruneRemovesOnlyOurUnusedImages(t *testing.T) {
	g := NewWithT(t)
	e := connect(t)
	folder := t.TempDir()
	g.Expect(compile(t.Context(), folder, e.Version().Arch, []Program{standin()})).To(Succeed())
	program, err := os.ReadFile(filepath.Join(folder, "standin"))
	g.Expect(err).NotTo(HaveOccurred())
	label := "io.github.vlandemux.prune-test-" + strings.ToLower(rand.Text())
	old, kept, used := unique(t, e, label), unique(t, e, label), unique(t, e, label, program...)
	ids := map[*builtImage]string{}
	for _, img := range []*builtImage{old, kept, used} {
		ids[img], err = ensure(t.Context(), e, func(string) {}, img)
		g.Expect(err).NotTo(HaveOccurred())
	}
	foreign := unique(t, e, Label) // not of the label that this test prunes by
	foreignID, err := ensure(t.Context(), e, func(string) {}, foreign)
	g.Expect(err).NotTo(HaveOccurred())
	c, err := e.Start(t.Context(), engine.Spec{Name: "vlandemux-test-" + strings.ToLower(rand.Text()[:10]), Image: ids[used], Kind: engine.KindClient})
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(prune(t.Context(), e, label, ids[kept])).To(Equal([]string{old.tag()}))
	present := func(id string) bool {
		_, ok, err := e.HasImage(t.Context(), id)
		g.Expect(err).NotTo(HaveOccurred())
		return ok
	}
	g.Expect(present(ids[old])).To(BeFalse())
	g.Expect(present(ids[kept])).To(BeTrue())
	g.Expect(present(ids[used])).To(BeTrue())
	g.Expect(present(foreignID)).To(BeTrue())

	g.Expect(c.Close(t.Context())).To(Succeed())
	g.Expect(prune(t.Context(), e, label)).To(ConsistOf(kept.tag(), used.tag()))
}

func TestAnotherDemuxIsPutIntoTheHostsImage(t *testing.T) {
	g := NewWithT(t)
	folder := t.TempDir()
	g.Expect(compile(t.Context(), folder, runtime.GOARCH, []Program{standin()})).To(Succeed())
	program, err := os.ReadFile(filepath.Join(folder, "standin"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, name := range []string{"host", "vlandemux", "other"} {
		g.Expect(os.WriteFile(filepath.Join(folder, name), slices.Concat(program, []byte(name)), 0o755)).To(Succeed())
	}
	last := func() []string {
		files, err := Programs()[0].read(folder, runtime.GOARCH)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(files).To(HaveLen(2))
		return []string{files[0].name + " " + string(files[0].data[len(program):]), files[1].name + " " + string(files[1].data[len(program):])}
	}
	t.Setenv(Demux, "")
	g.Expect(last()).To(Equal([]string{"host host", "vlandemux vlandemux"}))
	t.Setenv(Demux, filepath.Join(folder, "other"))
	g.Expect(last()).To(Equal([]string{"host host", "vlandemux other"}))
	t.Setenv(Demux, filepath.Join(folder, "none"))
	_, err = Programs()[0].read(folder, runtime.GOARCH)
	g.Expect(err).To(MatchError(And(ContainSubstring("reading the program to test"), ContainSubstring("none"), ContainSubstring("DEMUX"))))
}
