// Command write writes the sample captures into a folder.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vlandemux/vlandemux/harness/internal/probe/internal/samples"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "write:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: write FOLDER")
	}
	files, err := samples.Files()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(args[0]); err != nil {
		return fmt.Errorf("removing the old captures: %w", err)
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return fmt.Errorf("making the folder of captures: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(args[0], name), content, 0o644); err != nil {
			return fmt.Errorf("writing a capture: %w", err)
		}
	}
	return nil
}
