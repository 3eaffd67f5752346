package main

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/images"
)

// programFolder holds the program in the container.
const programFolder = "/tmp/exec"

// start brings up a container that runs the program in a copy of the working folder.
func start(ctx context.Context, e *engine.Engine, program string, args []string) (_ *engine.Container, err error) {
	folder, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("looking for the package's folder: %w", err)
	}
	libraries, err := images.Libraries(ctx, program, e.Version().Arch)
	if err != nil {
		return nil, fmt.Errorf("preparing to run %s: %w", program, err)
	}
	ids, err := images.EnsurePrograms(ctx, e, nil, images.Runner())
	if err != nil {
		return nil, err
	}

	inside := filepath.ToSlash(folder)
	if !strings.HasPrefix(inside, "/") {
		inside = "/package" // this machine names folders in a way that Linux does not
	}
	// The root is read-only, so whatever is written lies in a tmpfs of its own: the program, its package's folder, its libraries.
	tmpfs := map[string]string{"/tmp": "rw,nosuid,nodev,exec,mode=1777"}
	const options = "rw,nosuid,nodev,exec,mode=755"
	if inside != "/" && inside != "/tmp" && inside != "/run" {
		tmpfs[inside] = options
	}
	for _, library := range libraries {
		tmpfs[filepath.Dir(library)] = options
	}
	target := programFolder + "/" + filepath.Base(program)
	c, err := e.Start(ctx, engine.Spec{
		Name:       containerName(program, strings.ToLower(rand.Text()[:8])),
		Image:      ids[0],
		Kind:       engine.KindTest,
		IPv6:       true,
		Args:       append([]string{target}, args...),
		Env:        environment(inside, libraries),
		WorkingDir: inside,
		Tmpfs:      tmpfs,
		Stderr:     os.Stderr,
	})
	if err != nil {
		return nil, err
	}
	if err := send(c, program, target, inside, libraries); err != nil {
		// A cancelled context makes Close end the container at once.
		ended, cancel := context.WithCancel(ctx)
		cancel()
		return nil, errors.Join(fmt.Errorf("sending %s to its container: %w", program, err), c.Close(ended))
	}
	return c, nil
}

// containerName tells which program a container runs; suffix makes it unique.
func containerName(program, suffix string) string {
	return fmt.Sprintf("vlandemux-test-%s-%s", strings.TrimSuffix(filepath.Base(program), ".test"), suffix)
}

// environment picks the variables that make sense in the container.
func environment(folder string, libraries []string) []string {
	env := []string{"HOME=/tmp", "TMPDIR=/tmp", "PWD=" + folder}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		ours := strings.HasPrefix(name, "GO") || strings.HasPrefix(name, "VLANDEMUX_")
		// These name folders of this machine.
		if ours && !slices.Contains([]string{"GOCOVERDIR", "GOROOT", "GOPATH", "GOCACHE", "GOTMPDIR", "GOBIN", "GOMODCACHE", "GOENV"}, name) {
			env = append(env, entry)
		}
	}
	if len(libraries) > 0 {
		var folders []string
		for _, library := range libraries {
			folders = append(folders, filepath.Dir(library))
		}
		slices.Sort(folders)
		env = append(env, "LD_LIBRARY_PATH="+strings.Join(slices.Compact(folders), ":"))
	}
	return env
}

// send writes the archive that the runner unpacks. Stdin stays open: its end is the end of the container.
func send(c *engine.Container, program, target, folder string, libraries []string) error {
	archive := tar.NewWriter(c.Stream)
	if err := addFile(archive, program, target); err != nil {
		return err
	}
	for _, library := range libraries {
		if err := addFile(archive, library, library); err != nil {
			return err
		}
	}
	if err := addTree(archive, "testdata", folder+"/testdata"); err != nil {
		return err
	}
	return archive.Close()
}
