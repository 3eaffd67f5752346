package probe

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// bell wakes the goroutine that reads a tap's packets, for it to stop or to answer.
// Only that goroutine calls hear and close; the other methods may be called by any.
type bell struct {
	ringing  sync.Mutex  // keeps close from closing event under wake
	event    int         // an eventfd, -1 once closed
	stopping atomic.Bool // for good
	asked    chan func() // to be called once all that had arrived is handed over
}

func (b *bell) open() (err error) {
	b.asked = make(chan func(), 1)
	if b.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("making an eventfd: %w", err)
	}
	return nil
}

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

// wake ends a wait, now or the next one.
func (b *bell) wake() {
	b.ringing.Lock()
	defer b.ringing.Unlock()
	if b.event >= 0 {
		_, _ = unix.Write(b.event, []byte{1, 0, 0, 0, 0, 0, 0, 1}) // a 64-bit number in either byte order
	}
}

// hear waits for the next wake from now on, and says what this one was for: to stop,
// or to answer, if not nil.
func (b *bell) hear() (stop bool, answer func()) {
	var number [8]byte
	_, _ = unix.Read(b.event, number[:])
	select {
	case answer = <-b.asked:
	default:
	}
	return b.stopping.Load(), answer
}

func (b *bell) close() error {
	b.ringing.Lock()
	defer b.ringing.Unlock()
	if b.event < 0 {
		return nil
	}
	err := unix.Close(b.event)
	b.event = -1
	return err
}
