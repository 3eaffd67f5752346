package images

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

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
