package images

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
)

// CheckArch returns an error unless an ELF program is for the architecture, a GOARCH.
func CheckArch(program *elf.File, arch string) error {
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
	if err := CheckArch(program, arch); err != nil {
		return err
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New("it needs shared libraries, and an image holds nothing but the program: compile it with CGO_ENABLED=0")
		}
	}
	return nil
}
