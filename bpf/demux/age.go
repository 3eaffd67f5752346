package demux

import (
	"context"
	"fmt"
	"time"
)

const (
	// agesOfAMark is how many times in Options.Age each location is looked at.
	agesOfAMark = 8
	// agedAtOnce is how many slots are looked at before others may change something.
	agedAtOnce = 1 << 13
)

// ForgetUnused forgets the locations of clients that send nothing for Options.Age, at most a quarter of it
// later, until ctx ends (nil). Each is announced as [EventForgotten].
//
// A client that may be at one place only is there.
//
// It sets a mark in each location, which the client's next frame takes off, and has the programs forget
// those that still have it after the time. All of these exchange the word as a whole, so a frame that
// comes at the same moment as the end of its location comes before it, or learns it anew.
func (d *Demux) ForgetUnused(ctx context.Context) error {
	age := d.Options().Age
	if age == 0 {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(age / agesOfAMark)
	defer ticker.Stop()
	aging := newAging(d)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := aging.look(ctx, age); err != nil {
				return err
			}
		}
	}
}

// aging knows since when locations are marked as unused.
type aging struct {
	demux *Demux
	begin time.Time
	since []time.Duration // from begin, by slot; 0 for never
}

func newAging(d *Demux) *aging {
	return &aging{demux: d, begin: time.Now(), since: make([]time.Duration, d.opts.Capacity)}
}

// look marks the locations that have no mark, and forgets those that have had one for the age.
func (a *aging) look(ctx context.Context, age time.Duration) error {
	for first := 0; first < len(a.since) && ctx.Err() == nil; first += agedAtOnce {
		err := a.demux.change(func() error { return a.lookAt(first, min(first+agedAtOnce, len(a.since)), age) })
		if err != nil {
			return fmt.Errorf("looking for unused locations: %w", err)
		}
	}
	return nil
}

func (a *aging) lookAt(first, end int, age time.Duration) error {
	d, now := a.demux, time.Since(a.begin)
	var unused []uint32
	for slot := first; slot < end; slot++ {
		word := &d.locations[slot]
		seen := word.Load()
		switch {
		case seen == 0 || len(d.allowed[uint32(slot)]) == 1: // known without a frame
		case seen&locationUnused == 0:
			if word.CompareAndSwap(seen, seen|locationUnused) {
				a.since[slot] = now
			}
		case a.since[slot] == 0: // an earlier process has marked it
			a.since[slot] = now
		case now-a.since[slot] >= age:
			unused = append(unused, uint32(slot))
		}
	}
	return d.forgetLocations(unused, func(seen uint64) bool { return seen&locationUnused != 0 })
}

// clearTrunk forgets the locations on a trunk that nothing is learned on any more.
func (d *Demux) clearTrunk(ifindex int) error {
	var gone []uint32
	on := func(seen uint64) bool { return seen != 0 && unpackLocation(seen).Trunk == ifindex }
	for slot := range d.locations {
		if on(d.location(uint32(slot)).Load()) {
			gone = append(gone, uint32(slot))
		}
	}
	return d.forgetLocations(gone, on)
}

// forgetLocations has the programs forget those locations of the slots' clients that are as they must be,
// and no other: a client may be seen elsewhere at this very moment. Of a client that may be at one place only
// nothing is announced: it is there again as soon as its trunk is, without an event.
func (d *Demux) forgetLocations(slots []uint32, must func(seen uint64) bool) error {
	list := make([]bpfForgotten, 0, len(slots))
	for _, slot := range slots {
		mac := d.clients[slot].mac
		if seen := d.location(slot).Load(); mac != 0 && must(seen) {
			if len(d.allowed[slot]) == 1 {
				mac = 0
			}
			list = append(list, bpfForgotten{Location: seen, Mac: mac, Slot: uint64(slot)})
		}
	}
	if err := runWith(d.objs.Forget, list); err != nil {
		return fmt.Errorf("forgetting locations: %w", err)
	}
	return nil
}
