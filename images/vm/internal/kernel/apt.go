package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/images/vm/internal/child"
)

// index is a package index as apt knows it. None of its methods needs root.
type index struct {
	// options precede every command of apt; none for the machine's own index.
	options []string
	// label is for error messages.
	label string
}

// release is a kernel: the package of its image first, then those of its modules, where they have their own.
type release struct {
	packages []packaged
	index    *index
}

// packaged is one version of a package.
type packaged struct{ name, version string }

func (r release) String() string { return r.packages[0].name + " " + r.packages[0].version }

// errNoKernel is what newest fails with when an index has no kernel of a series.
var errNoKernel = errors.New("no such kernel in the package index")

// errDownload is what download fails with when the archive does not hand out what the index has: it is out of date.
var errDownload = errors.New("the archive does not hand it out")

// newest returns the newest kernel of a series: the ordinary build for this architecture.
func (x *index) newest(ctx context.Context, series string) (release, error) {
	listed, err := x.run(ctx, "", "apt-cache", "pkgnames", "linux-image-")
	if err != nil {
		return release{}, err
	}
	names := strings.Fields(listed)
	for _, name := range newestFirst(names, series) {
		// The index also knows names that are only mentioned somewhere: those have no record.
		record, err := x.record(ctx, name)
		if ctx.Err() != nil {
			return release{}, err
		}
		if version := field(record, "Version"); err == nil && version != "" {
			modules, err := x.modules(ctx, record)
			return release{packages: append([]packaged{{name, version}}, modules...), index: x}, err
		}
	}
	return release{}, fmt.Errorf("looking for linux-image-%s.* in %s: %w: %s", series, x.label, errNoKernel, has(names))
}

// modules returns the packages that the modules of a kernel are in. Debian's are in the package of the image. Ubuntu has them in
// linux-modules-VERSION, which that one depends on, and linux-modules-extra-VERSION.
func (x *index) modules(ctx context.Context, image string) ([]packaged, error) {
	var all []packaged
	for _, name := range modulePackage.FindAllString(field(image, "Depends"), -1) {
		extra := strings.Replace(name, "linux-modules-", "linux-modules-extra-", 1)
		for _, name := range []string{name, extra} {
			record, err := x.record(ctx, name)
			if err == nil {
				all = append(all, packaged{name, field(record, "Version")})
			} else if name != extra || ctx.Err() != nil {
				return nil, fmt.Errorf("looking for the modules of a kernel in %s: %w", x.label, err)
			}
		}
	}
	return all, nil
}

var modulePackage = regexp.MustCompile(`\blinux-modules-[0-9][^ ,|(]*`)

// record returns what an index says of the newest version of a package.
func (x *index) record(ctx context.Context, name string) (string, error) {
	return x.run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
}

// download fetches the packages into dir without installing them and returns their paths.
func (r release) download(ctx context.Context, dir string) ([]string, error) {
	// The sandbox user of apt, which root has it change to, may not write to dir.
	args := []string{"-qq", "-o", "APT::Sandbox::User=root", "download"}
	for _, p := range r.packages {
		args = append(args, p.name+"="+p.version)
	}
	if _, err := r.index.run(ctx, dir, "apt-get", args...); err != nil {
		return nil, fmt.Errorf("fetching %s: %w: %w", r, errDownload, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != len(r.packages) {
		return nil, fmt.Errorf("fetching %s: apt-get left %d packages in %s, not %d", r, len(files), dir, len(r.packages))
	}
	return files, nil
}

func (x *index) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	out, err := child.Output(ctx, dir, []string{"LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}, name, append(slices.Clone(x.options), args...)...)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("fetching a Debian kernel needs apt, which this machine does not have: pass a .deb or a folder with vmlinuz and modules to --kernel: %w", err)
	}
	return out, err
}

// ordinaryKernel matches the names of ordinary kernels, such as linux-image-6.1.0-56-amd64 and linux-image-6.12.117+deb12-amd64 of
// Debian and linux-image-6.8.0-49-generic of Ubuntu. Names of cloud, rt, unsigned and dbg builds do not match.
var ordinaryKernel = regexp.MustCompile(`^linux-image-([0-9]+\.[0-9]+)\.[0-9]+(-[0-9]+|\+deb[0-9]+)*-(amd64|generic)$`)

// newestFirst picks the names of ordinary kernels of a series, and sorts them.
func newestFirst(names []string, series string) []string {
	var kept []string
	for _, name := range names {
		if match := ordinaryKernel.FindStringSubmatch(name); match != nil && match[1] == series {
			kept = append(kept, name)
		}
	}
	slices.SortFunc(kept, func(a, b string) int { return slices.Compare(numbers(b), numbers(a)) })
	return kept
}

// has says of which series there are kernels among the names.
func has(names []string) string {
	series := map[string]bool{}
	for _, name := range names {
		if match := ordinaryKernel.FindStringSubmatch(name); match != nil {
			series[match[1]] = true
		}
	}
	if len(series) == 0 {
		return "it has none at all"
	}
	sorted := slices.SortedFunc(maps.Keys(series), func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
	return "it has " + strings.Join(sorted, ", ")
}

var digits = regexp.MustCompile(`[0-9]+`)

func numbers(name string) []int {
	var all []int
	for _, text := range digits.FindAllString(name, -1) {
		n, _ := strconv.Atoi(text)
		all = append(all, n)
	}
	return all
}

// field returns the value of a field of a package record, or "".
func field(record, name string) string {
	for line := range strings.Lines(record) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// openSeries prepares the newest kernel of a series, from the machine's package index or, when that has none or is out of
// date, from one fetched for the purpose. With sources, from those alone.
func openSeries(ctx context.Context, store *Store, series, sources string, modules Modules, notice func(string)) (*Boot, error) {
	var why error
	if sources == "" {
		boot, err := openNewest(ctx, store, &index{label: "this machine's package index"}, series, modules, notice)
		if !errors.Is(err, errNoKernel) && !errors.Is(err, errDownload) {
			return boot, err
		}
		why = err
	}
	for _, maxAge := range []time.Duration{indexAge, 0} {
		fetched, err := store.fetchIndex(ctx, sources, maxAge, notice)
		if err != nil {
			return nil, errors.Join(why, err)
		}
		boot, err := openNewest(ctx, store, fetched, series, modules, notice)
		if errors.Is(err, errNoKernel) {
			return nil, fmt.Errorf("%w; name another archive in KERNEL_SOURCES (--sources), as a line of sources.list(5)", err)
		}
		if !errors.Is(err, errDownload) {
			return boot, err
		}
		why = err
	}
	return nil, why
}

// openNewest prepares the newest kernel of a series in one index.
func openNewest(ctx context.Context, store *Store, x *index, series string, modules Modules, notice func(string)) (*Boot, error) {
	r, err := x.newest(ctx, series)
	if err != nil {
		return nil, err
	}
	source := strings.ReplaceAll(r.String(), " ", "_")
	return store.openOr(ctx, key(source, modules), r.String(), modules, notice, func(dir string) (*tree, error) {
		notice("fetching " + r.String())
		files, err := r.download(ctx, dir)
		if err != nil {
			return nil, err
		}
		return unpack(ctx, dir, files...)
	})
}
