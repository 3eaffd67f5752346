package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vlandemux/vlandemux/images/vm/internal/child"
)

// initPackage is the guest's process 1.
const initPackage = "github.com/vlandemux/vlandemux/images/vm/init"

// abandoned is the age at which a folder that a killed run left is removed.
const abandoned = time.Hour

// buildInit compiles the guest's init and returns it. Nothing is left on disk but in Go's own build cache; while it
// compiles, its files are below dir.
func buildInit(ctx context.Context, dir string) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("compiling the guest's init: %w", err)
	}
	removeAbandoned(dir)
	scratch, err := os.MkdirTemp(dir, "")
	if err != nil {
		return nil, fmt.Errorf("compiling the guest's init: %w", err)
	}
	defer os.RemoveAll(scratch)
	program := filepath.Join(scratch, "init")
	_, err = child.Output(ctx, "", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOTMPDIR=" + scratch},
		"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", program, initPackage)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("compiling the guest's init: Go is not installed: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("compiling the guest's init (start this program inside its module): %w", err)
	}
	return os.ReadFile(program)
}

// removeAbandoned removes what killed runs left. Failures are left to the next run.
func removeAbandoned(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.RemoveAll(filepath.Join(dir, entry.Name()))
		}
	}
}
