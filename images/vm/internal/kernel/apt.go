package kernel

import (
	"context"
	"errors"
	"fmt"
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

// release is a kernel package.
type release struct {
	name, version string
	index         *index
}

func (r release) String() string { return r.name + " " + r.version }

// errNoKernel is what newest fails with when an index has no kernel of a series.
var errNoKernel = errors.New("no such kernel in the package index")

// errDownload is what download fails with when the archive does not hand out what the index has: it is out of date.
var errDownload = errors.New("the archive does not hand it out")

// newest returns the newest kernel package of a series: the ordinary build for this architecture.
func (x *index) newest(ctx context.Context, series string) (release, error) {
	listed, err := x.run(ctx, "", "apt-cache", "pkgnames", "linux-image-"+series+".")
	if err != nil {
		return release{}, err
	}
	names := newestFirst(strings.Fields(listed), series)
	for _, name := range names {
		// The index also knows names that are only mentioned somewhere: those have no record.
		record, err := x.run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
		if ctx.Err() != nil {
			return release{}, err
		}
		if err != nil {
			continue
		}
		if version := field(record, "Version"); version != "" {
			return release{name: name, version: version, index: x}, nil
		}
	}
	return release{}, fmt.Errorf("looking for linux-image-%s.* in %s: %w", series, x.label, errNoKernel)
}

// download fetches a package into dir without installing it and returns its path.
func (r release) download(ctx context.Context, dir string) (string, error) {
	// The sandbox user of apt, which root has it change to, may not write to dir.
	_, err := r.index.run(ctx, dir, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", r.name+"="+r.version)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w: %w", r, errDownload, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("fetching %s: apt-get left %d packages in %s", r, len(files), dir)
	}
	return files[0], nil
}

// run runs a command of apt with this index.
func (x *index) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	out, err := child.Output(ctx, dir, []string{"LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}, name, append(slices.Clone(x.options), args...)...)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("fetching a Debian kernel needs apt, which this machine does not have: pass a .deb or a folder with vmlinuz and modules to --kernel: %w", err)
	}
	return out, err
}

// newestFirst picks the names of ordinary kernels of a series, such as linux-image-6.1.0-56-amd64 and
// linux-image-6.12.117+deb12-amd64, and sorts them. Names of cloud, rt, unsigned and dbg builds are not among them.
func newestFirst(names []string, series string) []string {
	ordinary := regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(series) + `\.[0-9]+(-[0-9]+|\+deb[0-9]+)*-amd64$`)
	var kept []string
	for _, name := range names {
		if ordinary.MatchString(name) {
			kept = append(kept, name)
		}
	}
	slices.SortFunc(kept, func(a, b string) int { return slices.Compare(numbers(b), numbers(a)) })
	return kept
}

var digits = regexp.MustCompile(`[0-9]+`)

// numbers returns the numbers in a name.
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

// openSeries prepares the newest kernel of a series.
func openSeries(ctx context.Context, store *Store, series string, modules Modules, notice func(string)) (*Boot, error) {
	boot, err := openNewest(ctx, store, &index{label: "this machine's package index"}, series, modules, notice)
	if !errors.Is(err, errNoKernel) && !errors.Is(err, errDownload) {
		return boot, err
	}
	why := err // the machine's index is another distribution's, empty, or out of date
	for _, maxAge := range []time.Duration{indexAge, 0} {
		debian, err := store.debianIndex(ctx, maxAge, notice)
		if err != nil {
			return nil, errors.Join(why, err)
		}
		boot, err = openNewest(ctx, store, debian, series, modules, notice)
		if !errors.Is(err, errDownload) {
			return boot, err
		}
		why = errors.Join(why, err)
	}
	return nil, why
}

// openNewest prepares the newest kernel of a series in one index.
func openNewest(ctx context.Context, store *Store, x *index, series string, modules Modules, notice func(string)) (*Boot, error) {
	r, err := x.newest(ctx, series)
	if err != nil {
		return nil, err
	}
	return store.openOr(ctx, key(r.name+"_"+r.version, modules), r.String(), modules, notice, func(dir string) (*tree, error) {
		notice("fetching " + r.String())
		file, err := r.download(ctx, dir)
		if err != nil {
			return nil, err
		}
		return unpack(ctx, file, dir)
	})
}
