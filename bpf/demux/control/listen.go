package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// socketMode lets root and the socket's group in, nobody else.
	socketMode = 0o660
	// maxSocketPath is the longest path that fits a sockaddr_un, in bytes.
	maxSocketPath = 107
	// tryTimeout bounds the attempt to connect to a socket that is in the way.
	tryTimeout = time.Second
)

// ErrSocketInUse is a socket on which another process serves.
var ErrSocketInUse = errors.New("socket in use")

// Listen makes the unix socket at path, with mode 0660 from its first moment there. The socket of a
// dead process is replaced, one that answers is [ErrSocketInUse], and anything that is no socket is left
// alone and is an error. Closing the listener removes the socket.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	listener, err := listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("making the control socket %s: %w", path, err)
	}
	return listener, nil
}

func listen(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path is %d bytes long, a socket's can have %d", len(path), maxSocketPath)
	}
	// Two processes that start at once must not both find the socket stale.
	unlock, err := lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkFree(ctx, path); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the socket of a dead process: %w", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		// The file that bind makes takes the descriptor's mode, less the umask: never more than
		// socketMode, and chmod below adds what the umask took.
		if controlErr := conn.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }); controlErr != nil {
			return controlErr
		}
		return err
	}}
	inner, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	unixListener := inner.(*net.UnixListener)
	unixListener.SetUnlinkOnClose(false)
	made, err := open(path)
	if err != nil {
		return nil, errors.Join(err, inner.Close(), os.Remove(path))
	}
	return &socketListener{UnixListener: unixListener, path: path, made: made}, nil
}

// lock makes and locks a file that nobody but its owner can open, and so nobody else can lock. Who
// unlocks removes it, hence the loop.
func lock(path string) (unlock func(), err error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("making its lock: %w", err)
		}
		held, err := file.Stat()
		if err == nil && held.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
			err = errors.New("it belongs to another user: remove it, or choose another --socket")
		}
		if err == nil {
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s (is another vlandemux starting?): %w", path, err), file.Close())
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(held, now) {
			return func() { _ = errors.Join(os.Remove(path), file.Close()) }, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
}

// open lets in whom socketMode says and returns what identifies the socket.
func open(path string) (os.FileInfo, error) {
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// checkFree returns nil when path can be replaced: nothing, or a socket nobody answers on.
func checkFree(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is a file of another kind (%v); choose another --socket", info.Mode())
	}
	dialer := net.Dialer{Timeout: tryTimeout}
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%w: another process serves on it; stop that one or choose another --socket", ErrSocketInUse), conn.Close())
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("%w: trying it: %w", ErrSocketInUse, err)
	}
}

// socketListener removes its socket when closed, unless another process has replaced it.
type socketListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
	once sync.Once
}

// Close stops listening and removes the socket.
func (l *socketListener) Close() error {
	var removed error
	l.once.Do(func() {
		if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.made) {
			removed = os.Remove(l.path)
		}
	})
	return errors.Join(removed, l.UnixListener.Close())
}

// RemoveStale removes the socket that a dead process left at path. Nothing there is no error; a socket
// that answers is [ErrSocketInUse] and stays.
func RemoveStale(ctx context.Context, path string) error {
	if err := checkFree(ctx, path); err != nil {
		return fmt.Errorf("removing the control socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the control socket: %w", err)
	}
	return nil
}
