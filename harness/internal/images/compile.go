package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrNoSource means that the programs can't be compiled here: there is no go command, or no module to compile them from.
var ErrNoSource = errors.New("no source to build the images from")

// Build compiles the lab's programs and dockerexec's runner for a GOARCH into dir, which [Folder] may name later: on a machine without Go, for example.
func Build(ctx context.Context, dir, arch string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of the images' programs: %w", err)
	}
	return compile(ctx, dir, arch, append(Programs(), Runner()))
}

func compile(ctx context.Context, dir, arch string, programs []Program) error {
	c, err := newCompiler(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return c.build(ctx, dir, arch, programs)
}

// compiler is the go command and the source of the programs.
type compiler struct{ goCommand, source, temporary string }

func newCompiler(ctx context.Context) (c compiler, err error) {
	if c.goCommand, err = exec.LookPath("go"); err != nil {
		return c, fmt.Errorf("compiling the images' programs: %w: %w; install Go and put it into PATH, "+
			"or let %s name a folder of ready-made programs", ErrNoSource, err, Folder)
	}
	// Interrupted early, the go command leaves its temporary files; in this folder they go all the same.
	if c.temporary, err = os.MkdirTemp("", "vlandemux-compile-"); err != nil {
		return c, fmt.Errorf("making a folder for the compiler's temporary files: %w", err)
	}
	if c.source, err = sourceFolder(ctx, c.goCommand, c.temporary, sourceCandidates()...); err != nil {
		c.close()
	}
	return c, err
}

func (c compiler) close() { os.RemoveAll(c.temporary) } //nolint:errcheck // what stays is a temporary file

// build makes programs with one call of the go command, statically and reproducibly. What is up to date in dir is not linked again.
func (c compiler) build(ctx context.Context, dir, arch string, programs []Program) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("compiling the images' programs: %w", err)
	}
	args := []string{"build", "-o", dir + string(filepath.Separator), "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}
	for _, program := range programs {
		args = append(args, program.Packages...)
	}
	out, err := runGo(ctx, c.goCommand, c.temporary, c.source, arch, args...)
	switch {
	case err == nil:
		return nil
	case bytes.Contains(out, []byte(syscall.ENOSPC.Error())):
		return fmt.Errorf("compiling the images' programs: %w in %s or in the go command's cache: make room there, "+
			"or set TMPDIR and GOCACHE to folders on another disk", syscall.ENOSPC, filepath.Dir(c.temporary))
	default:
		return fmt.Errorf("compiling the images' programs in %s: %w\n%s", c.source, err, bytes.TrimSpace(out))
	}
}

// keep gives a folder for programs of an architecture that has those of the last time, locked until release is called. Where the source is not to be
// written to, as in the go command's cache of modules, it is an empty one.
func (c compiler) keep(arch string) (dir string, release func(), err error) {
	dir = filepath.Join(c.source, "build", "images", arch)
	if strings.Contains(c.source, "@") || os.MkdirAll(dir, 0o755) != nil {
		return c.temporary, func() {}, nil //nolint:nilerr // compiled from nothing, as the first time
	}
	folder, err := os.Open(dir)
	if err == nil {
		err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return "", nil, fmt.Errorf("locking the folder of the images' programs: %w", errors.Join(err, folder.Close()))
	}
	return dir, func() { folder.Close() }, nil //nolint:errcheck // it is only locked
}

// sourceCandidates are the working folder, which may lie in the module or in one that requires it, and the folder this package was compiled
// from.
func sourceCandidates() []string {
	candidates := []string{"."}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		candidates = append(candidates, filepath.Dir(file))
	}
	return candidates
}

// sourceFolder returns the module's own folder, as the first of the candidates knows it: a clone, or where the go command keeps the version that a
// module of somebody else's requires. The programs are compiled there, with the go.mod and go.sum of this module: those of the other have only what its
// own packages need.
func sourceFolder(ctx context.Context, goCommand, temporary string, candidates ...string) (string, error) {
	var reasons []string
	for _, folder := range candidates {
		if _, err := os.Stat(folder); err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		out, err := runGo(ctx, goCommand, temporary, folder, runtime.GOARCH, "list", "-m", "-mod=readonly", "-f", "{{.Dir}}", module)
		found := string(bytes.TrimSpace(out))
		if err == nil && filepath.IsAbs(found) {
			return found, nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("looking for the images' source: %w", context.Cause(ctx))
		}
		reasons = append(reasons, fmt.Sprintf("%s: %s", folder, found))
	}
	return "", fmt.Errorf("compiling the images' programs: %w (%s); run this inside a clone of %s or a module that requires it, "+
		"or let %s name a folder of ready-made programs", ErrNoSource, strings.Join(reasons, "; "), module, Folder)
}

// runGo runs the go command for the engine's machine, in an environment in which nothing changes what it makes.
func runGo(ctx context.Context, goCommand, temporary, folder, arch string, args ...string) (output []byte, err error) {
	cmd := exec.CommandContext(ctx, goCommand, args...)
	cmd.Dir = folder
	// Killed, it would leave the compilers it has started.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains([]string{"GOFLAGS", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOARM", "GOEXPERIMENT", "CGO_ENABLED", "PWD"}, name)
	})
	cmd.Env = append(cmd.Env, "GOFLAGS=", "GOTMPDIR="+temporary, "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	if args[0] == "build" { // a workspace may name the module, and has no say in what it is made of
		cmd.Env = append(cmd.Env, "GOWORK=off")
	}
	output, err = cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return output, err
}
