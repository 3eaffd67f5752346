package probe

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bell waits for a tap's packets in the runtime's poller, which takes no thread, and wakes the goroutine that reads them, for it
// to stop or to answer. Only that goroutine calls wait, waitFor, hear and close; the other methods may be called by any.
type bell struct {
	sockets  *os.File // an epoll instance, nil until open; its read deadline is past when the bell rings
	raw      syscall.RawConn
	stopping atomic.Bool // for good
	asked    chan func() // to be called once all that had arrived is handed over
}

// open makes the bell ready.
func (b *bell) open() error {
	b.asked = make(chan func(), 1)
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making an epoll instance: %w", err)
	}
	err = unix.SetNonblock(fd, true) // for the runtime to poll it
	b.sockets = os.NewFile(uintptr(fd), "sockets of a tap")
	if err == nil {
		b.raw, err = b.sockets.SyscallConn()
	}
	if err != nil {
		return fmt.Errorf("having the runtime poll an epoll instance: %w", err)
	}
	return nil
}

// add has a socket's packets end a wait, until it is closed.
func (b *bell) add(socket int) error {
	var err error
	controlErr := b.raw.Control(func(fd uintptr) {
		err = unix.EpollCtl(int(fd), unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(socket)})
	})
	if err = errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("polling a packet socket: %w", err)
	}
	return nil
}

// stop ends the reading.
func (b *bell) stop() {
	b.stopping.Store(true)
	b.wake()
}

// ask has the reader call answer once it has handed over all that has arrived by
// now. One may ask at a time.
func (b *bell) ask(answer func()) {
	b.asked <- answer
	b.wake()
}

// wake ends a wait, now or the next one. It does nothing once the bell is closed.
func (b *bell) wake() { _ = b.sockets.SetReadDeadline(time.Unix(1, 0)) }

// wait calls read now and whenever a packet has come or a socket has an error, until that is done or fails, or the bell rings.
func (b *bell) wait(read func() (done bool, err error)) error {
	var failed error
	err := b.raw.Read(func(uintptr) (done bool) {
		done, failed = read()
		return done || failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("waiting for packets: %w", err)
	}
	return nil
}

// waitFor is wait for no longer than that. The bell rings afterwards: it may have meanwhile.
func (b *bell) waitFor(longest time.Duration, read func() (done bool, err error)) error {
	defer b.wake()
	return errors.Join(b.sockets.SetReadDeadline(time.Now().Add(longest)), b.wait(read))
}

// hear silences the bell, and says what it was for: to stop, or to answer, if not nil, or nothing more.
func (b *bell) hear() (stop bool, answer func()) {
	_ = b.sockets.SetReadDeadline(time.Time{}) // of an open file that is polled
	select {
	case answer = <-b.asked:
	default:
	}
	return b.stopping.Load(), answer
}

func (b *bell) close() error {
	if b.sockets == nil {
		return nil
	}
	return b.sockets.Close()
}
