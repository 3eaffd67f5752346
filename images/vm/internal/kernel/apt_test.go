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
		"linux-image-6.1.0-57-arm64", "linux-image-unsigned-6.1.0-58-generic", "linux-image-6.11.0-1-amd64",
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

// fakeApt puts programs of apt and dpkg into PATH. The index has Debian's kernel 6.1.0-1, whose package is the folder that fakeKernel
// describes, and Ubuntu's 6.8.0-49, which has its modules in two packages of their own. With a file "lost" beside the programs, the
// archive hands nothing out until the index has been fetched. The commands are noted in the file "calls" there.
func fakeApt(t *testing.T) (bin string) {
	t.Helper()
	g := NewWithT(t)
	bin = t.TempDir()
	const ubuntus = "lib/modules/6.8.0-49-generic/"
	packages := map[string]map[string][]byte{
		"linux-image-6.1.0-1-amd64":            fakeKernel(),
		"linux-image-6.8.0-49-generic":         {"boot/vmlinuz-6.8.0-49-generic": []byte("ubuntu's image")},
		"linux-modules-6.8.0-49-generic":       {ubuntus + "modules.builtin": nil, ubuntus + "kernel/bridge.ko": fakeModule("stp")},
		"linux-modules-extra-6.8.0-49-generic": {ubuntus + "kernel/stp.ko": fakeModule()},
	}
	for name, files := range packages {
		g.Expect(os.CopyFS(filepath.Join(bin, "packages", name), os.DirFS(writeTree(t, files)))).To(Succeed())
	}
	for name, script := range map[string]string{
		"apt-cache": `for last; do :; done
case "$*" in
*pkgnames*) ls $bin/packages | grep image; echo linux-image-6.1.0-2-amd64; echo linux-image-6.8.0-50-generic-unsigned ;;
*) [ -d $bin/packages/$last ] || { echo "E: No packages found" >&2; exit 100; }
	echo "Package: $last"; echo "Version: 1.1-1"
	[ $last != linux-image-6.8.0-49-generic ] || echo "Depends: kmod, linux-base (>= 4.5) | other, linux-modules-6.8.0-49-generic" ;;
esac`,
		"apt-get": `case "$*" in
*update) rm -f $bin/lost ;;
*) [ ! -e $bin/lost ] || { echo '404  Not Found' >&2; exit 100; }
	for p; do case $p in linux-*) touch ${p%=*}_1.1-1_amd64.deb ;; esac; done ;;
esac`,
		"dpkg-deb": `name=$(basename $2); mkdir -p $3; cp -r $bin/packages/${name%%_*}/. $3`,
	} {
		text := fmt.Sprintf("#!/bin/sh\nbin=%s\necho \"%s $*\" >>$bin/calls\n%s\n", bin, name, script)
		g.Expect(os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755)).To(Succeed())
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	return bin
}

// calls returns the commands that the programs of fakeApt were run with.
func calls(t *testing.T, bin string) string {
	t.Helper()
	noted, err := os.ReadFile(filepath.Join(bin, "calls"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(noted)
}

// silent takes notices nobody reads.
func silent(string) {}

func TestASeriesIsFetchedOnce(t *testing.T) {
	g := NewWithT(t)
	bin := fakeApt(t)
	store := &Store{Dir: t.TempDir()}
	for _, from := range []string{"fetched", "cached"} {
		boot, err := Open(t.Context(), store, "6.1", "", Modules{Late: []string{"bridge"}}, silent)
		g.Expect(err).NotTo(HaveOccurred())
		defer boot.Close()
		g.Expect(boot.Name).To(Equal("linux-image-6.1.0-1-amd64 1.1-1"))
		g.Expect(boot.From).To(Equal(from))
		image, err := os.ReadFile(boot.Image.Name())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(image)).To(Equal("image"))
	}
	g.Expect(strings.Count(calls(t, bin), "download linux-image-6.1.0-1-amd64=1.1-1\n")).To(Equal(1))
	g.Expect(filepath.Glob(filepath.Join(store.Dir, "tmp", "*"))).To(BeEmpty())
}

func TestAMissingModuleLeavesNothingInTheStore(t *testing.T) {
	g := NewWithT(t)
	fakeApt(t)
	store := &Store{Dir: t.TempDir()}
	_, err := Open(t.Context(), store, "6.1", "", Modules{Late: []string{"sch_nonsuch"}}, silent)
	g.Expect(err).To(MatchError(ErrMissingModule))
	g.Expect(filepath.Glob(filepath.Join(store.Dir, "*", "*"))).To(BeEmpty())
}

func TestAKernelWithItsModulesInPackagesOfTheirOwn(t *testing.T) {
	g := NewWithT(t)
	fakeApt(t)
	boot, err := Open(t.Context(), &Store{Dir: t.TempDir()}, "6.8", "", Modules{Late: []string{"bridge"}}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	defer boot.Close()
	g.Expect(boot.Name).To(Equal("linux-image-6.8.0-49-generic 1.1-1"))
	archive, err := os.ReadFile(boot.Modules.Name())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(archive)).To(MatchRegexp(`(?s)000-stp\.ko.*001-bridge\.ko`), "from two packages, in loading order")
}

func TestAnIndexOutOfDateIsFetchedAgain(t *testing.T) {
	g := NewWithT(t)
	bin := fakeApt(t)
	g.Expect(os.WriteFile(filepath.Join(bin, "lost"), nil, 0o644)).To(Succeed())
	store := &Store{Dir: t.TempDir()}
	boot, err := Open(t.Context(), store, "6.1", "", Modules{}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	defer boot.Close()
	g.Expect(calls(t, bin)).To(MatchRegexp(`apt-get -c \S+/apt-\w+/apt.conf -qq update\n`), "in a folder of ours: the machine's own index is root's")
	settings, err := filepath.Glob(filepath.Join(store.Dir, "apt-*", "apt.conf"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(settings).To(HaveLen(1))
	g.Expect(os.ReadFile(settings[0])).NotTo(ContainSubstring("SourceList"), "of the machine's archives")
}

func TestASeriesThatTheArchivesDoNotHave(t *testing.T) {
	g := NewWithT(t)
	fakeApt(t)
	_, err := Open(t.Context(), &Store{Dir: t.TempDir()}, "5.4", "", Modules{}, silent)
	g.Expect(err).To(MatchError(errNoKernel))
	g.Expect(err).To(MatchError(And(ContainSubstring("it has 6.1, 6.8"), ContainSubstring("KERNEL_SOURCES"))))
}

func TestOtherArchivesThanTheMachines(t *testing.T) {
	g := NewWithT(t)
	bin := fakeApt(t)
	store := &Store{Dir: t.TempDir()}
	const line = "deb [trusted=yes] file:/srv/kernels ./"
	boot, err := Open(t.Context(), store, "6.1", line, Modules{}, silent)
	g.Expect(err).NotTo(HaveOccurred())
	defer boot.Close()
	g.Expect(calls(t, bin)).NotTo(MatchRegexp(`(?m)^apt-cache pkgnames`), "the machine's own index is not asked")
	written, err := filepath.Glob(filepath.Join(store.Dir, "apt-*", "sources.list"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(written).To(HaveLen(1))
	g.Expect(os.ReadFile(written[0])).To(BeEquivalentTo(line + "\n"))
	g.Expect(os.ReadFile(filepath.Join(filepath.Dir(written[0]), "apt.conf"))).To(ContainSubstring(`SourceList "` + written[0] + `"`))
}

func TestAMachineWithoutApt(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("PATH", t.TempDir())
	_, err := Open(t.Context(), &Store{Dir: t.TempDir()}, "6.1", "", Modules{}, silent)
	g.Expect(err).To(MatchError(ContainSubstring("pass a .deb or a folder")))
}

func TestAKernelThatIsNone(t *testing.T) {
	g := NewWithT(t)
	_, err := Open(t.Context(), &Store{Dir: t.TempDir()}, "nonsense", "", Modules{}, silent)
	g.Expect(err).To(MatchError(ContainSubstring("neither a series such as 6.1 nor the path")))
}
