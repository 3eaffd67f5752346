package demux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// EventType says what happened to a client.
type EventType string

const (
	// EventLearned means that the client was seen for the first time.
	EventLearned EventType = "learned"
	// EventMoved means that it was seen in another place: on another trunk,
	// with another VLAN protocol or another VID.
	EventMoved EventType = "moved"
	// EventForgotten means that its location is not known any more: its trunk has gone, or the
	// client has sent nothing for Options.Age.
	EventForgotten EventType = "forgotten"
	// EventWrongPlace means that it was seen where it may not be: its location stays. It is
	// told once a second of a client.
	EventWrongPlace EventType = "wrong_place"
)

// Event is a client's change of place.
type Event struct {
	Type     EventType
	MAC      MAC
	From, To Location  // From is zero if it had not been seen before, To when it is EventForgotten
	Time     time.Time // when the frame was handled, or the location forgotten
	// Earliest is when it can have been at the earliest, from a dataplane that looks now and then what has changed. A
	// [Demux] knows Time exactly and leaves it zero.
	Earliest time.Time
}

// ReadEvents calls handle for each event, in order, until ctx ends (nil), handle
// returns an error (that one) or the Demux is closed ([ErrClosed]). Events wait
// in a ring of about 20,000 until they are read, across restarts with pins;
// those that found it full are counted as lost. There may be one reader at a
// time: each event is read once.
func (d *Demux) ReadEvents(ctx context.Context, handle func(Event) error) error {
	return d.readRing(ctx, func() *ebpf.Map { return d.objs.Events }, func(sample []byte) error {
		event, err := d.parseEvent(sample)
		if err != nil {
			return err
		}
		return handle(event)
	})
}

// readRing calls handle for each sample of the ring, as ReadEvents does.
func (d *Demux) readRing(ctx context.Context, ring func() *ebpf.Map, handle func(sample []byte) error) error {
	reader, err := d.openRing(ring)
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
	for ctx.Err() == nil {
		err := reader.ReadInto(&record)
		switch {
		case err == nil: // it has left the ring: it is handed over, even if ctx has ended meanwhile
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrClosed):
			return ErrClosed
		default:
			return fmt.Errorf("reading events: %w", err)
		}
		if err := handle(record.RawSample); err != nil {
			return err
		}
	}
	return nil
}

func (d *Demux) openRing(ring func() *ebpf.Map) (*ringbuf.Reader, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, ErrClosed
	}
	reader, err := ringbuf.NewReader(ring())
	if err != nil {
		return nil, fmt.Errorf("opening events: %w", err)
	}
	return reader, nil
}

func decodeSample(sample []byte, into any) error {
	if size := binary.Size(into); len(sample) < size {
		return fmt.Errorf("reading event: %d octets of %d", len(sample), size)
	}
	if _, err := binary.Decode(sample, binary.NativeEndian, into); err != nil {
		return fmt.Errorf("reading event: %w", err)
	}
	return nil
}

func (d *Demux) parseEvent(sample []byte) (Event, error) {
	var raw bpfEvent
	if err := decodeSample(sample, &raw); err != nil {
		return Event{}, err
	}
	event := Event{
		Type: EventMoved,
		MAC:  MAC(raw.Mac.Octets),
		From: unpackLocation(raw.From),
		To:   unpackLocation(raw.To),
	}
	switch {
	case raw.Refused != 0:
		event.Type = EventWrongPlace
	case raw.From == 0:
		event.Type = EventLearned
	case raw.To == 0:
		event.Type = EventForgotten
	}
	var err error
	event.Time, err = d.clocks.wall(raw.TimeNs)
	return event, err
}
