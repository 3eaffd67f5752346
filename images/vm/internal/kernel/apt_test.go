package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheNewestOrdinaryKernelComesFirst(t *testing.T) {
	g := NewWithT(t)
	g.Expect(newestFirst([]string{
		"linux-image-6.1.0-9-amd64", "linux-image-6.1.0-56-amd64", "linux-image-6.1.0-56-rt-amd64", "linux-image-6.1.0-60-cloud-amd64",
		"linux-image-6.1.0-61-amd64-unsigned", "linux-image-6.1.0-61-amd64-dbg", "linux-image-6.1-amd64", "linux-image-6.12.1-amd64",
		"linux-image-6.1.0-57-arm64",
	}, "6.1")).To(Equal([]string{"linux-image-6.1.0-56-amd64", "linux-image-6.1.0-9-amd64"}))
	g.Expect(newestFirst([]string{
		"linux-image-6.12.9+deb12-amd64", "linux-image-6.12.117+deb12-amd64", "linux-image-6.12-amd64", "linux-image-6.12.43+deb13-amd64",
	}, "6.12")).To(Equal([]string{"linux-image-6.12.117+deb12-amd64", "linux-image-6.12.43+deb13-amd64", "linux-image-6.12.9+deb12-amd64"}))
}

func TestAFieldOfARecord(t *testing.T) {
	g := NewWithT(t)
	g.Expect(field("Package: a\nVersion: 6.1-2\n", "Version")).To(Equal("6.1-2"))
	g.Expect(field("Package: a\n", "Version")).To(BeEmpty())
}

// fakeApt puts programs of apt and dpkg into PATH. The machine's index has kernel 6.1.0-1, the archive hands it out if
// served is true, and its package is the folder that fakeKernel describes. The commands are noted in the returned file.
func fakeApt(t *testing.T, served bool) (calls string) {
	t.Helper()
	g := NewWithT(t)
	bin := t.TempDir()
	calls = filepath.Join(bin, "calls")
	download := "echo '404  Not Found' >&2; exit 100"
	if served {
		download = "touch linux-image-6.1.0-1-amd64_6.1.1-1_amd64.deb"
	}
	for name, script := range map[string]string{
		"apt-cache": `case "$*" in
*pkgnames*) echo linux-image-6.1.0-1-amd64; echo linux-image-6.1.0-2-amd64 ;;
*show*6.1.0-1-amd64) echo "Package: linux-image-6.1.0-1-amd64"; echo "Version: 6.1.1-1" ;;
*) echo "E: No packages found" >&2; exit 100 ;;
esac`,
		"apt-get":  download,
		"dpkg-deb": fmt.Sprintf(`[ "$1" = -x ] && cp -r %s "$3"`, writeTree(t, fakeKernel())),
	} {
		text := fmt.Sprintf("#!/bin/sh\necho \"%s $*\" >> %s\n%s\n", name, calls, script)
		g.Expect(os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755)).To(Succeed())
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	return calls
}

// silent takes notices nobody reads.
func silent(string) {}

func TestASeriesIsFetchedOnce(t *testing.T) {
	g := NewWithT(t)
	calls := fakeApt(t, true)
	store := &Store{Dir: t.TempDir()}
	for _, from := range []string{"fetched", "cached"} {
		boot, err := Open(t.Context(), store, "6.1", Modules{Late: []string{"bridge"}}, silent)
		g.Expect(err).NotTo(HaveOccurred())
		defer boot.Close()
		g.Expect(boot.Name).To(Equal("linux-image-6.1.0-1-amd64 6.1.1-1"))
		g.Expect(boot.From).To(Equal(from))
		image, err := os.ReadFile(boot.Image.Name())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(image)).To(Equal("image"))
	}
	noted, err := os.ReadFile(calls)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(string(noted), "download linux-image-6.1.0-1-amd64=6.1.1-1")).To(Equal(1))
	g.Expect(filepath.Glob(filepath.Join(store.Dir, "tmp", "*"))).To(BeEmpty())
}

func TestAMissingModuleLeavesNothingInTheStore(t *testing.T) {
	g := NewWithT(t)
	fakeApt(t, true)
	store := &Store{Dir: t.TempDir()}
	_, err := Open(t.Context(), store, "6.1", Modules{Late: []string{"sch_nonsuch"}}, silent)
	g.Expect(err).To(MatchError(ErrMissingModule))
	g.Expect(filepath.Glob(filepath.Join(store.Dir, "*", "*"))).To(BeEmpty())
}

func TestAnIndexOutOfDateIsReplacedByDebians(t *testing.T) {
	g := NewWithT(t)
	calls := fakeApt(t, false)
	_, err := Open(t.Context(), &Store{Dir: t.TempDir()}, "6.1", Modules{}, silent)
	g.Expect(err).To(MatchError(errDownload))
	g.Expect(err).To(MatchError(ContainSubstring("404  Not Found")))
	if _, missing := os.Stat(debianKeyring); missing != nil {
		g.Expect(err).To(MatchError(ContainSubstring("debian-archive-keyring")))
		return
	}
	noted, _ := os.ReadFile(calls)
	g.Expect(string(noted)).To(ContainSubstring("update"))
}

func TestAMachineWithoutApt(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("PATH", t.TempDir())
	_, err := Open(t.Context(), &Store{Dir: t.TempDir()}, "6.1", Modules{}, silent)
	g.Expect(err).To(MatchError(ContainSubstring("pass a .deb or a folder")))
}

func TestAKernelThatIsNone(t *testing.T) {
	g := NewWithT(t)
	_, err := Open(t.Context(), &Store{Dir: t.TempDir()}, "nonsense", Modules{}, silent)
	g.Expect(err).To(MatchError(ContainSubstring("neither a series such as 6.1 nor the path")))
}
