package harness_test

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// A module of somebody else's requires this one, of which the go command knows nothing: it
// has to come as a module does, and from an empty cache, and a lab has to start.
func TestAModuleOfItsOwnStartsALab(t *testing.T) {
	g := NewWithT(t)
	root, err := filepath.Abs("..")
	g.Expect(err).NotTo(HaveOccurred())
	proxy, folder, cache := t.TempDir(), t.TempDir(), t.TempDir()
	publish(t, root, proxy, module.Version{Path: "github.com/vlandemux/vlandemux", Version: "v0.1.0"})

	program, err := os.ReadFile("testdata/library/main.go")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(folder, "main.go"), program, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module example.org/mine\n\ngo 1.26\n\nrequire github.com/vlandemux/vlandemux v0.1.0\n"), 0o600)).
		To(Succeed())
	usual, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE", "GOPROXY").Output()
	g.Expect(err).NotTo(HaveOccurred())
	old := strings.Fields(string(usual))
	// What this machine's cache has is not fetched again.
	t.Setenv("GOPROXY", "file://"+proxy+",file://"+old[0]+"/cache/download,"+old[1])
	t.Setenv("GONOSUMDB", "github.com/vlandemux/vlandemux")
	t.Setenv("GOMODCACHE", cache)
	t.Cleanup(func() { _ = exec.Command("go", "clean", "-modcache").Run() }) // which is read-only
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), "%s %q: %s", name, args, out)
		return string(out)
	}
	t.Setenv("CGO_ENABLED", "0") // as the images' programs: what both need is compiled once
	run("go", "build", "-mod=mod", "-trimpath", "-o", "mine", ".")
	g.Expect(run("./mine")).To(ContainSubstring("1 clients · 1 workers"))
}

// publish makes of a folder a version of a module, for the go command to fetch from file://proxy.
func publish(t *testing.T, root, proxy string, version module.Version) {
	t.Helper()
	g := NewWithT(t)
	var files []zip.File
	g.Expect(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "build", "reports"}, name):
			return filepath.SkipDir
		case entry.Type().IsRegular():
			files = append(files, file(name))
		}
		return nil
	})).To(Succeed())
	folder := filepath.Join(proxy, version.Path, "@v")
	g.Expect(os.MkdirAll(folder, 0o755)).To(Succeed())
	archive, err := os.Create(filepath.Join(folder, version.Version+".zip"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(zip.Create(archive, version, files)).To(Succeed())
	g.Expect(archive.Close()).To(Succeed())
	requirements, err := os.ReadFile(filepath.Join(root, "go.mod"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(folder, version.Version+".mod"), requirements, 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(folder, version.Version+".info"), []byte(`{"Version":"`+version.Version+`"}`), 0o600)).To(Succeed())
}

// file is one of the module's, by its path from the root.
type file string

func (f file) Path() string                 { return filepath.ToSlash(string(f)) }
func (f file) Lstat() (fs.FileInfo, error)  { return os.Lstat(filepath.Join("..", string(f))) }
func (f file) Open() (io.ReadCloser, error) { return os.Open(filepath.Join("..", string(f))) }
