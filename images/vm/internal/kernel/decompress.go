package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// moduleName returns the name of the module in a file, as the kernel spells it, and whether the file is a module.
func moduleName(file string) (string, bool) {
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if stem, ok := strings.CutSuffix(file, suffix); ok {
			return normalise(stem[strings.LastIndexByte(stem, '/')+1:]), true
		}
	}
	return "", false
}

// normalise spells a module's name as the kernel does: file names and lists may have dashes.
func normalise(name string) string { return strings.ReplaceAll(name, "-", "_") }

// readModule returns a module's file, decompressed.
func readModule(path string) ([]byte, error) {
	packed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r io.Reader
	switch {
	case strings.HasSuffix(path, ".ko"):
		return packed, nil
	case strings.HasSuffix(path, ".xz"):
		r, err = xz.NewReader(bytes.NewReader(packed))
	case strings.HasSuffix(path, ".zst"):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(bytes.NewReader(packed)); err == nil {
			defer d.Close()
			r = d
		}
	case strings.HasSuffix(path, ".gz"):
		r, err = gzip.NewReader(bytes.NewReader(packed))
	default:
		return nil, fmt.Errorf("%s: not the file of a kernel module", path)
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", path, err)
	}
	module, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", path, err)
	}
	return module, nil
}

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
