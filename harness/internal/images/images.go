// Package images makes the lab's container images: one or two static Go programs each, from scratch, without a registry or a Dockerfile.
//
// The same source, compiled by the same Go release, gives the same image ID wherever it is built, so that an engine which has the image
// already is left alone.
package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

const module = "github.com/vlandemux/vlandemux"

// Label marks the images of this package; its value is the program's name.
const Label = "io.github.vlandemux.image"

// Folder is the variable that names a folder of ready-made programs, as [Build] writes it, to use instead of compiling them.
const Folder = "VLANDEMUX_IMAGES"

// Demux is the variable that names a program to test instead of this source's vlandemux: an older build, a fork, or another program with the same
// command line and API.
const Demux = "DEMUX"

// Set holds the lab's images, as the engine identifies them.
type Set struct {
	Host, Client, Worker string
	DHCP                 string // a DHCP server and client, to be the image of a node
}

// Program is one or more Go programs that become an image.
type Program struct {
	Name       string   // of the image, vlandemux/NAME
	Packages   []string // import paths of its programs' packages main; the last elements name the executables
	Entrypoint []string // starts with "/" and the executable's name
}

// Programs lists the lab's: host, client, worker, and what scenarios put into nodes.
func Programs() []Program {
	return []Program{
		{Name: "host", Packages: []string{module + "/images/host/host", module + "/images/host/vlandemux"}, Entrypoint: []string{"/host"}},
		{Name: "client", Packages: []string{module + "/images/client/client"}, Entrypoint: []string{"/client"}},
		{Name: "worker", Packages: []string{module + "/images/worker/worker"}, Entrypoint: []string{"/worker"}},
		{Name: "dhcp", Packages: []string{module + "/images/dhcp/dhcp"}, Entrypoint: []string{"/dhcp"}},
	}
}

// Runner is the program that dockerexec runs tests with.
func Runner() Program {
	return Program{Name: "runner", Packages: []string{module + "/harness/dockerexec/runner"}, Entrypoint: []string{"/runner"}}
}

// Ensure makes sure that the engine has the lab's images and returns their IDs. It compiles the programs unless [Folder] is set, and loads
// only what the engine lacks. It also sweeps away what an earlier run may have left; see [engine.Engine.Sweep]. progress is told what is being
// done, a short line each; it may be nil.
func Ensure(ctx context.Context, e *engine.Engine, progress func(string)) (Set, error) {
	if err := e.Sweep(ctx); err != nil {
		return Set{}, err
	}
	ids, err := EnsurePrograms(ctx, e, progress, Programs()...)
	if err != nil {
		return Set{}, err
	}
	return Set{Host: ids[0], Client: ids[1], Worker: ids[2], DHCP: ids[3]}, nil
}

// EnsurePrograms is [Ensure] for programs of the caller's choice; the IDs are in the same order.
func EnsurePrograms(ctx context.Context, e *engine.Engine, progress func(string), programs ...Program) ([]string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	folder := os.Getenv(Folder)
	if folder == "" {
		progress("compiling the images' programs")
		c, err := newCompiler(ctx)
		if err != nil {
			return nil, err
		}
		defer c.close()
		dir, release, err := c.keep(e.Version().Arch)
		if err != nil {
			return nil, err
		}
		defer release()
		if err := c.build(ctx, dir, e.Version().Arch, programs); err != nil {
			return nil, err
		}
		folder = dir
	}
	ids := make([]string, len(programs))
	for i, program := range programs {
		files, err := program.read(folder, e.Version().Arch)
		if err != nil {
			return nil, err
		}
		if ids[i], err = ensure(ctx, e, progress, newImage(program, e.Version().Arch, files)); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// read returns the compiled programs of an image, as the files it holds.
func (p Program) read(folder, arch string) ([]tarEntry, error) {
	var files []tarEntry
	for _, name := range p.Packages {
		executable := path.Base(name)
		file := filepath.Join(folder, executable)
		other := os.Getenv(Demux)
		if executable == "vlandemux" && other != "" {
			file = other
		}
		binary, err := os.ReadFile(file)
		if err != nil && file == other {
			return nil, fmt.Errorf("reading the program to test: %w; %s must be its path", err, Demux)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a program of image %s: %w; %s=%s must name a folder that `go run ./harness/imagetool build DIR` has written",
				p.Name, err, Folder, folder)
		}
		if err := checkBinary(binary, arch); err != nil {
			return nil, fmt.Errorf("a program of image %s, %s: %w", p.Name, file, err)
		}
		files = append(files, tarEntry{name: executable, mode: 0o755, data: binary})
	}
	return files, nil
}

func ensure(ctx context.Context, e *engine.Engine, progress func(string), img *builtImage) (string, error) {
	if id, err := find(ctx, e, img); err != nil || id != "" {
		return id, err
	}
	progress("loading image " + img.tag())
	if err := e.LoadImage(ctx, img.archive()); err != nil {
		return "", fmt.Errorf("loading image %s: %w", img.tag(), err)
	}
	id, err := find(ctx, e, img)
	if err == nil && id == "" {
		err = errors.New("the engine took the image and does not have it")
	}
	if err != nil {
		return "", fmt.Errorf("loading image %s: %w", img.tag(), err)
	}
	return id, nil
}

// find returns the engine's ID for an image, "" if it has none. An engine that names images by their manifest is asked for the tag, which
// holds the configuration's digest, and believed if the layers are ours.
func find(ctx context.Context, e *engine.Engine, img *builtImage) (string, error) {
	if found, ok, err := e.HasImage(ctx, img.id); err != nil || ok {
		return found.ID, err
	}
	found, ok, err := e.HasImage(ctx, img.tag())
	if err != nil || !ok || len(found.Layers) != 1 || found.Layers[0] != img.diffID {
		return "", err
	}
	return found.ID, nil
}

// Pack makes an image of programs of this machine, with the shared libraries they need, loads it and returns its ID. Each is in the image where
// it is here.
func Pack(ctx context.Context, e *engine.Engine, name string, programs ...string) (string, error) {
	var files []string
	for _, program := range programs {
		libraries, err := Libraries(ctx, program, e.Version().Arch)
		if err != nil {
			return "", fmt.Errorf("packing %s into image %s: %w", program, name, err)
		}
		files = append(append(files, program), libraries...)
	}
	slices.Sort(files)
	var entries []tarEntry
	for _, file := range slices.Compact(files) {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("packing image %s: %w", name, err)
		}
		entries = append(entries, tarEntry{name: strings.TrimPrefix(file, "/"), mode: 0o755, data: data})
	}
	return ensure(ctx, e, func(string) {}, newImage(Program{Name: name}, e.Version().Arch, entries))
}

// Prune removes this project's images except those to keep and those in use by a container, and returns the names of what it removed. Images
// of others are never touched.
func Prune(ctx context.Context, e *engine.Engine, keep ...string) ([]string, error) {
	return prune(ctx, e, Label, keep...)
}

// prune does so for the images that carry a label.
func prune(ctx context.Context, e *engine.Engine, label string, keep ...string) ([]string, error) {
	list, err := e.Images(ctx, label)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, img := range list {
		if slices.Contains(keep, img.ID) {
			continue
		}
		gone, err := e.RemoveImage(ctx, img)
		if err != nil {
			return removed, err
		}
		if gone {
			removed = append(removed, append(img.Names, img.ID)[0])
		}
	}
	return removed, nil
}
