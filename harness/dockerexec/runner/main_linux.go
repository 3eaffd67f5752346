// Command runner is the first process of a dockerexec container. It unpacks the tar archive that comes on stdin, runs the program its
// arguments name, passes signals on to it and exits with its status. When stdin ends, because dockerexec is gone, it exits at once, and the
// kernel ends everything else in the container with it.
package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// Exit statuses of the runner's own, as `docker run` has them.
const (
	statusFailed   = 125 // the runner itself failed
	statusSignaled = 128 // and the signal's number on top: the program was killed
)

func main() {
	status, err := run(os.Stdin, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "dockerexec: in the container:", err)
		status = statusFailed
	}
	os.Exit(status)
}

func run(stdin io.Reader, argv []string) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("no program to run")
	}
	if err := unpack(stdin); err != nil {
		return 0, fmt.Errorf("unpacking the files sent: %w", err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	child, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), os.Stdout.Fd(), os.Stderr.Fd()},
	})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // nothing more comes; that it ends is what counts
		os.Exit(statusSignaled + int(syscall.SIGKILL))
	}()
	go func() {
		for s := range signals {
			if number, ok := s.(syscall.Signal); ok {
				_ = syscall.Kill(child, number) // it may have exited
			}
		}
	}()
	return reap(child)
}

// reap waits for the child, and for the orphans that the first process of a namespace inherits.
func reap(child int) (int, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the program: %w", err)
		case pid == child && status.Signaled():
			return statusSignaled + int(status.Signal()), nil
		case pid == child && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}

// unpack writes the archive's files to the absolute paths they are named by, and stops at the archive's end mark.
func unpack(stdin io.Reader) error {
	archive := tar.NewReader(stdin)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join("/", header.Name)
		mode := os.FileMode(header.Mode).Perm()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, mode)
		case tar.TypeSymlink:
			err = os.Symlink(header.Linkname, path)
		case tar.TypeReg:
			err = writeFile(path, mode, archive)
		default:
			err = fmt.Errorf("%s is neither file, folder nor link", header.Name)
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(path string, mode os.FileMode, content io.Reader) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
