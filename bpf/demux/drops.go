package demux

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// Drop is a frame that was dropped, and those like it that were not told.
type Drop struct {
	Reason DropReason
	// MAC is the source of a frame from a trunk, the destination of one from a worker.
	MAC MAC
	// Interface is the index of the trunk or worker on which it came in.
	Interface int
	// Place is where a frame from a trunk was seen, or where one from a worker was to go. It is zero
	// for a frame without a tag, and if the place is not known.
	Place Location
	// Packets are the wire frames that were dropped for the reason, of the MAC, since the last Drop of both.
	Packets uint64
	// Time is when the last of them was handled.
	Time time.Time
}

const (
	// dropLease is for how long the programs go on telling of drops when nobody renews it.
	dropLease = 3 * time.Second
	// dropRenewal is how often it is renewed.
	dropRenewal = time.Second
	// maxTold bounds how often a call of ReadDrops makes the programs forget what they have told.
	maxTold = 1 << 16
)

// dropWatchUntil is DROP_WATCH_UNTIL in types.h.
const dropWatchUntil = uint32(0)

// ReadDrops calls began, and then handle for frames that are dropped from then on: once a second
// for each MAC and reason, and 100 times for all. It ends as [Demux.ReadEvents] does. The programs tell of
// drops only while it runs. There may be one reader at a time.
func (d *Demux) ReadDrops(ctx context.Context, began func(), handle func(Drop) error) error {
	start, err := d.clocks.now(boottime)
	if err == nil {
		err = d.forgetToldDrops()
	}
	if err == nil {
		err = d.watchDrops(dropLease)
	}
	if err != nil {
		return err
	}
	renewing, stop := context.WithCancel(ctx)
	renewed := make(chan error, 1)
	go func() {
		defer stop() // the reader ends too
		renewed <- d.renewDrops(renewing)
	}()
	began()
	err = d.readRing(renewing, func() *ebpf.Map { return d.objs.DropEvents }, func(sample []byte) error {
		var raw bpfDrop
		if err := decodeSample(sample, &raw); err != nil {
			return err
		}
		if raw.TimeNs < start {
			return nil // told to an earlier reader, who did not come to it
		}
		at, err := d.clocks.wall(raw.TimeNs)
		if err != nil {
			return err
		}
		return handle(Drop{
			Reason: DropReason(raw.Reason), MAC: macOf(raw.Mac), Interface: int(raw.Ifindex), Place: unpackLocation(raw.Place),
			Packets: raw.Packets, Time: at,
		})
	})
	stop()
	err = errors.Join(err, <-renewed)
	if ended := d.watchDrops(0); !errors.Is(ended, ErrClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// renewDrops returns nil when ctx ends.
func (d *Demux) renewDrops(ctx context.Context) error {
	ticker := time.NewTicker(dropRenewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := d.watchDrops(dropLease); err != nil {
				return err
			}
		}
	}
}

// watchDrops lets the programs tell of drops for so long, or no more.
func (d *Demux) watchDrops(lease time.Duration) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return ErrClosed
	}
	until, err := d.clocks.now(monotonic)
	if err != nil {
		return err
	}
	until += uint64(lease)
	if lease == 0 {
		until = 0
	}
	if err := d.objs.DropWatch.Put(dropWatchUntil, until); err != nil {
		return fmt.Errorf("watching drops: %w", err)
	}
	return nil
}

// forgetToldDrops makes the first frame of each MAC and reason one to tell of.
func (d *Demux) forgetToldDrops() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return ErrClosed
	}
	var key uint64
	for range maxTold {
		err := d.objs.DropRates.NextKey(nil, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err == nil {
			err = d.objs.DropRates.Delete(key)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forgetting the drops of an earlier watch: %w", err)
		}
	}
	return nil
}
