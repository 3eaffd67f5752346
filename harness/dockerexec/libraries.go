package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// interpreter returns the dynamic loader that a program names, "" for a static program.
func interpreter(program *elf.File) (string, error) {
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(segment.Open())
		if err != nil {
			return "", fmt.Errorf("reading the name of its dynamic loader: %w", err)
		}
		return string(bytes.TrimRight(name, "\x00")), nil
	}
	return "", nil
}

// listLibraries asks the dynamic loader, of glibc or musl, what it would load. The program is not run.
func listLibraries(ctx context.Context, loader, path string) ([]string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, loader, "--list", path).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("listing its shared libraries with %s: %w: %s; link it statically instead: CGO_ENABLED=0",
			loader, err, bytes.TrimSpace(out))
	}
	files := []string{loader}
	for line := range strings.Lines(string(out)) {
		// libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)
		_, found, ok := strings.Cut(line, "=> ")
		if !ok {
			continue // the loader itself, or the kernel's vdso
		}
		file, _, _ := strings.Cut(strings.TrimSpace(found), " (")
		if !filepath.IsAbs(file) {
			return nil, fmt.Errorf("listing its shared libraries: %s", strings.TrimSpace(line))
		}
		files = append(files, file)
	}
	slices.Sort(files[1:])
	return slices.Compact(files), nil
}
