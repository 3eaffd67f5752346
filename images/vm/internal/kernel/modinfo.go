package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// dependencies returns the modules that the module in an ELF file needs to be loaded before it. Distributions' packages
// come without modules.dep, which depmod makes on the machine they are installed on; its source is this.
func dependencies(module []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, fmt.Errorf("reading a kernel module: %w", err)
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("reading a kernel module: it has no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("reading a kernel module's .modinfo section: %w", err)
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		names, ok := strings.CutPrefix(string(field), "depends=")
		if !ok || names == "" {
			continue
		}
		depends := strings.Split(names, ",")
		for i := range depends {
			depends[i] = normalise(depends[i])
		}
		return depends, nil
	}
	return nil, nil
}
