package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// debianKeyring is what the package debian-archive-keyring installs, on Debian and on Ubuntu.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// debianSources are where Debian 12 has its kernels: 6.1, and as a backport 6.12.
const debianSources = "deb [arch=amd64 signed-by=" + debianKeyring + "] http://deb.debian.org/debian bookworm main\n" +
	"deb [arch=amd64 signed-by=" + debianKeyring + "] http://deb.debian.org/debian-security bookworm-security main\n"

// debianSettings are read on top of the machine's own. What it does after an update is for its own index.
const debianSettings = `Dir::Etc::SourceList "FOLDER/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "FOLDER/lists";
Dir::Cache "FOLDER";
Acquire::Languages "none";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`

// indexAge is how old a fetched index may be before it is fetched again.
const indexAge = 24 * time.Hour

// debianIndex returns the index of Debian 12, for machines whose own index is another distribution's, out of date or empty.
// It is kept in the store and fetched when it is older than maxAge. The machine's apt is not touched; its proxy settings count.
func (s *Store) debianIndex(ctx context.Context, maxAge time.Duration, notice func(string)) (*index, error) {
	if _, err := os.Stat(debianKeyring); err != nil {
		return nil, fmt.Errorf("fetching Debian's package index: checking that it is Debian's needs %s: "+
			"install the package debian-archive-keyring, or pass a .deb or a folder with vmlinuz and modules to --kernel: %w", debianKeyring, err)
	}
	unlock, err := s.lock(ctx, notice)
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(s.Dir, "apt")
	sources := filepath.Join(dir, "sources.list")
	fetched := filepath.Join(dir, "fetched")
	settings := filepath.Join(dir, "apt.conf")
	debian := &index{label: "Debian 12's package index", options: []string{"-c", settings}}
	if info, err := os.Stat(fetched); err == nil && time.Since(info.ModTime()) < maxAge {
		return debian, nil
	}

	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(sources, []byte(debianSources), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(settings, []byte(strings.ReplaceAll(debianSettings, "FOLDER", dir)), 0o644); err != nil {
		return nil, err
	}
	notice("fetching Debian 12's package index")
	if _, err := debian.run(ctx, "", "apt-get", "-qq", "update"); err != nil {
		return nil, fmt.Errorf("fetching Debian 12's package index: %w", err)
	}
	return debian, os.WriteFile(fetched, nil, 0o644)
}
