package images

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// checkArch returns an error unless an ELF program is for the architecture, a GOARCH.
func checkArch(program *elf.File, arch string) error {
	want, known := map[string]elf.Machine{ // of the architectures that Docker engines run on and Go compiles for
		"386": elf.EM_386, "amd64": elf.EM_X86_64, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64, "loong64": elf.EM_LOONGARCH,
		"mips64le": elf.EM_MIPS, "ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
	}[arch]
	if known && program.Machine != want {
		return fmt.Errorf("it is made for %v, and the Docker engine runs on %s: compile it with GOOS=linux GOARCH=%s", program.Machine, arch, arch)
	}
	return nil
}

// checkBinary returns an error unless a program can run alone in an image: made for the architecture and linked statically.
func checkBinary(binary []byte, arch string) error {
	program, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return fmt.Errorf("it is not a Linux program (%w): compile it with GOOS=linux GOARCH=%s", err, arch)
	}
	if err := checkArch(program, arch); err != nil {
		return err
	}
	loader, err := interpreter(program)
	if err == nil && loader != "" {
		err = errors.New("it needs shared libraries, and an image holds nothing but the program: compile it with CGO_ENABLED=0")
	}
	return err
}

// Libraries lists the files that a dynamically linked program of this machine needs, its interpreter first; none for a static one.
func Libraries(ctx context.Context, path, arch string) ([]string, error) {
	program, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w; it must be a Linux program: compile it with GOOS=linux GOARCH=%s", err, arch)
	}
	defer program.Close() //nolint:errcheck // only read
	if err := checkArch(program, arch); err != nil {
		return nil, err
	}
	loader, err := interpreter(program)
	if err != nil || loader == "" {
		return nil, err
	}
	return listLibraries(ctx, loader, path)
}

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
