package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// addFile adds a regular file, following links, under an absolute name.
func addFile(archive *tar.Writer, path, name string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	// The longest paths of go test don't fit USTAR, hence PAX.
	header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(info.Mode().Perm()), Size: info.Size(), Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.Copy(archive, file); err != nil {
		return fmt.Errorf("copying %s: %w", path, err)
	}
	return nil
}

// addTree adds a folder with all it holds, if it exists. Links stay links.
func addTree(archive *tar.Writer, root, name string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if path == root && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		target := filepath.ToSlash(filepath.Join(name, below))
		switch {
		case entry.IsDir():
			return archive.WriteHeader(&tar.Header{Name: target + "/", Typeflag: tar.TypeDir, Mode: 0o755, Format: tar.FormatPAX})
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return archive.WriteHeader(&tar.Header{Name: target, Typeflag: tar.TypeSymlink, Linkname: link, Mode: 0o777, Format: tar.FormatPAX})
		case entry.Type().IsRegular():
			return addFile(archive, path, target)
		default:
			return nil // sockets and pipes are nobody's test data
		}
	})
}
