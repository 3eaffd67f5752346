package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

// portDevice is the only port of the machine's only virtio-serial device. Port 0 is reserved for a console.
const portDevice = "/dev/vport0p1"

// port is the line to the runner. Safe for concurrent use.
type port struct {
	file *os.File

	mu      sync.Mutex // one message at a time
	encoder *json.Encoder
}

// openPort opens the line to the runner, waiting for the device, which appears a while after its driver.
func openPort() (*port, error) {
	if err := awaitFile("/dev", portDevice); err != nil {
		return nil, err
	}
	// Blocking, outside Go's poller: reads and writes of a port block reliably, its readiness is another matter.
	fd, err := unix.Open(portDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", portDevice, err)
	}
	file := os.NewFile(uintptr(fd), portDevice)
	return &port{file: file, encoder: json.NewEncoder(file)}, nil
}

// send says something to the runner. It blocks until the runner listens.
func (p *port) send(m protocol.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.encoder.Encode(m)
}

// writer is an io.Writer whose data go to the runner as messages of a kind.
type writer struct {
	port *port
	kind protocol.Kind
}

func (w writer) Write(data []byte) (int, error) {
	if err := w.port.send(protocol.Message{Kind: w.kind, Data: data}); err != nil {
		return 0, err
	}
	return len(data), nil
}

// receive calls handle with what the runner says, until ctx ends or the line breaks. Only after the first send: before, the
// guest does not know yet that there is a runner, and reads end at once.
func (p *port) receive(ctx context.Context, handle func(protocol.Message)) error {
	decoder := json.NewDecoder(p.file)
	for ctx.Err() == nil {
		var m protocol.Message
		if err := decoder.Decode(&m); err != nil {
			return err
		}
		handle(m)
	}
	return ctx.Err()
}

func awaitFile(dir, path string) error {
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", path, err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CREATE); err != nil {
		return fmt.Errorf("waiting for %s: %w", path, err)
	}
	events := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if _, err := unix.Read(watch, events); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for %s: %w", path, err)
		}
	}
}
