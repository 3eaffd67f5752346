package demux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// EventType says what happened to a client.
type EventType string

const (
	// EventLearned means that the client was seen for the first time.
	EventLearned EventType = "learned"
	// EventMoved means that it was seen in another place: on another trunk,
	// with another VLAN protocol or another VID.
	EventMoved EventType = "moved"
)

// Event is a client's change of place.
type Event struct {
	Type     EventType
	MAC      MAC
	From, To Location  // From is zero when Type is EventLearned
	Time     time.Time // when the frame was handled
}

// ReadEvents calls handle for each event, in order, until ctx ends (nil), handle
// returns an error (that one) or the Demux is closed ([ErrClosed]). Events wait
// in a ring of about 20,000 until they are read, across restarts with pins;
// those that found it full are counted as lost. There may be one reader at a
// time: each event is read once.
func (d *Demux) ReadEvents(ctx context.Context, handle func(Event) error) error {
	reader, err := d.openEvents()
	if err != nil {
		return err
	}
	defer reader.Close()
	stop := context.AfterFunc(ctx, func() { reader.Close() })
	defer stop()
	returned := make(chan struct{})
	defer close(returned)
	go func() {
		select {
		case <-d.done:
			reader.Close()
		case <-returned:
		}
	}()

	var record ringbuf.Record
	for {
		err := reader.ReadInto(&record)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrClosed):
			return ErrClosed
		case err != nil:
			return fmt.Errorf("reading events: %w", err)
		}
		event, err := parseEvent(record.RawSample)
		if err != nil {
			return err
		}
		if err := handle(event); err != nil {
			return err
		}
	}
}

func (d *Demux) openEvents() (*ringbuf.Reader, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, ErrClosed
	}
	reader, err := ringbuf.NewReader(d.objs.Events)
	if err != nil {
		return nil, fmt.Errorf("opening events: %w", err)
	}
	return reader, nil
}

func parseEvent(sample []byte) (Event, error) {
	var raw bpfEvent
	if size := binary.Size(raw); len(sample) < size {
		return Event{}, fmt.Errorf("reading event: %d octets of %d", len(sample), size)
	}
	if _, err := binary.Decode(sample, binary.NativeEndian, &raw); err != nil {
		return Event{}, fmt.Errorf("reading event: %w", err)
	}
	event := Event{
		Type: EventMoved,
		MAC:  MAC(raw.Mac.Octets),
		From: unpackLocation(raw.From),
		To:   unpackLocation(raw.To),
	}
	if raw.From == 0 {
		event.Type = EventLearned
	}
	var err error
	event.Time, err = bootTime(raw.TimeNs)
	return event, err
}

// bootTime turns CLOCK_BOOTTIME into wall-clock time. The two clocks are read
// one after the other, so it tries again when something came in between.
func bootTime(ns uint64) (time.Time, error) {
	var (
		at   time.Time
		best = time.Duration(math.MaxInt64)
	)
	for range 5 {
		var boot unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
			return at, fmt.Errorf("reading the boot clock: %w", err)
		}
		if gap := time.Since(before); gap < best {
			best, at = gap, before.Round(0).Add(time.Duration(int64(ns)-boot.Nano()))
		}
		if best < 20*time.Microsecond {
			break
		}
	}
	return at, nil
}
