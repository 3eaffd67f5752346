package kernel

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/images/vm/internal/child"
)

// indexSettings are read on top of the machine's own: lists and packages of this index are in a folder of its own. What
// the machine does after an update is for its own index.
const indexSettings = `Dir::State::Lists "FOLDER/lists";
Dir::Cache "FOLDER";
Acquire::Languages "none";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`

// otherSources take the place of the machine's.
const otherSources = `Dir::Etc::SourceList "FOLDER/sources.list";
Dir::Etc::SourceParts "/dev/null";
`

// indexAge is how old a fetched index may be before it is fetched again.
const indexAge = 24 * time.Hour

// fetchIndex returns an index that is kept in the store and fetched when it is older than maxAge: of the archives that
// sources names, in the format of sources.list(5), or of the machine's own when it is empty. The machine's apt is not
// touched; its keys and its proxy settings count.
func (s *Store) fetchIndex(ctx context.Context, sources string, maxAge time.Duration, notice func(string)) (*index, error) {
	unlock, err := s.lock(ctx, notice)
	if err != nil {
		return nil, err
	}
	defer unlock()
	label, config := "the package index of this machine's archives", indexSettings
	if sources != "" {
		label, config = fmt.Sprintf("the package index of %q", sources), otherSources+indexSettings
	}
	dir := filepath.Join(s.Dir, fmt.Sprintf("apt-%x", sha256.Sum256([]byte(sources)))[:16])
	fetched := filepath.Join(dir, "fetched")
	settings := filepath.Join(dir, "apt.conf")
	x := &index{label: label, options: []string{"-c", settings}}
	if info, err := os.Stat(fetched); err == nil && time.Since(info.ModTime()) < maxAge {
		return x, nil
	}

	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(strings.TrimSpace(sources)+"\n"), 0o644),
		os.WriteFile(settings, []byte(strings.ReplaceAll(config, "FOLDER", dir)), 0o644)); err != nil {
		return nil, err
	}
	notice("fetching " + label)
	if _, err := x.run(ctx, "", "apt-get", "-qq", "update"); err != nil {
		return nil, fmt.Errorf("fetching %s: %w", label, err)
	}
	return x, os.WriteFile(fetched, nil, 0o644)
}

//go:embed lists/boot.txt
var bootList string

//go:embed lists/late.txt
var lateList string

// Modules are the kernel modules a guest loads, in this order, each after those it depends on: a name, or a name and
// options ("dummy numdummies=0"). One with a question mark behind its name is loaded where the kernel has it.
type Modules struct {
	// Boot is what the guest needs to reach the host's files.
	Boot []string
	// Late is loaded once it has.
	Late []string
}

// DefaultModules returns what the project's tests need.
func DefaultModules() Modules {
	return Modules{Boot: parseList(bootList), Late: parseList(lateList)}
}

// parseList returns the lines of a list; # starts a comment.
func parseList(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if name := strings.TrimSpace(line); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// unpack returns the kernel in package files, unpacked into dir.
func unpack(ctx context.Context, dir string, files ...string) (*tree, error) {
	root := filepath.Join(dir, "root")
	for _, file := range files {
		if _, err := child.Output(ctx, "", nil, "dpkg-deb", "-x", file, root); err != nil {
			if errors.Is(err, exec.ErrNotFound) {
				return nil, fmt.Errorf("unpacking %s: dpkg-deb is not installed (package dpkg); unpack it elsewhere and pass the folder to --kernel: %w", file, err)
			}
			return nil, fmt.Errorf("unpacking %s: %w", file, err)
		}
	}
	return openTree(root)
}

// openPackage prepares the kernel in a package file that the user has.
func openPackage(ctx context.Context, store *Store, file string, modules Modules, notice func(string)) (*Boot, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(file)
	source := fmt.Sprintf("%s-%x", name, sha256.Sum256(content))[:len(name)+1+12]
	boot, err := store.openOr(ctx, key(source, modules), name, modules, notice, func(dir string) (*tree, error) {
		notice("unpacking " + file)
		return unpack(ctx, dir, file)
	})
	if err == nil && boot.From == "fetched" {
		boot.From = "unpacked"
	}
	return boot, err
}
