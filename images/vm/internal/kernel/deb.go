package kernel

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vlandemux/vlandemux/images/vm/internal/child"
)

// unpack returns the kernel in package files, unpacked into dir.
func unpack(ctx context.Context, dir string, files ...string) (*tree, error) {
	root := filepath.Join(dir, "root")
	for _, file := range files {
		if _, err := child.Output(ctx, "", nil, "dpkg-deb", "-x", file, root); err != nil {
			if errors.Is(err, exec.ErrNotFound) {
				return nil, fmt.Errorf("unpacking %s: dpkg-deb is not installed (package dpkg); unpack it elsewhere and pass the folder to --kernel: %w", file, err)
			}
			return nil, fmt.Errorf("unpacking %s: %w", file, err)
		}
	}
	return openTree(root)
}

// openPackage prepares the kernel in a package file that the user has.
func openPackage(ctx context.Context, store *Store, file string, modules Modules, notice func(string)) (*Boot, error) {
	sum, err := fileHash(file)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(file)
	boot, err := store.openOr(ctx, key(name+"-"+sum[:12], modules), name, modules, notice, func(dir string) (*tree, error) {
		notice("unpacking " + file)
		return unpack(ctx, dir, file)
	})
	if err == nil && boot.From == "fetched" {
		boot.From = "unpacked"
	}
	return boot, err
}

// fileHash returns the SHA-256 of a file's content, in hexadecimal.
func fileHash(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}
