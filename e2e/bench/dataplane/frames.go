package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// sending is how long one measurement of a rate sends.
const sending = 100 * time.Millisecond

// rate is one measurement of frames a second.
type rate struct {
	name    string
	running *running
	sources []source // each on a processor of its own
	dropped bool     // the frames end in the program
}

// source is where frames come from: a sender or a feeder.
type source interface {
	// rate returns how many frames it has sent, and how many a second.
	rate() (sent int, perSecond float64, err error)
}

// way is one of those on which frames come to the trunk.
type way struct {
	name   string
	source func(*running, frames) (source, error)
	fed    bool
}

// ways that were asked for. What fed needs stays on afterwards, so it is the last.
func (b *bench) ways(measurement string) []way {
	return slices.DeleteFunc([]way{
		{name: "frames", source: (*running).sender},
		{name: "fed", source: (*running).feeder, fed: true},
	}, func(w way) bool { return !b.wants(w.name + "/" + measurement) })
}

// prepare makes the variants ready for frames that come on the way.
func (w way) prepare(started []*running) error {
	var errs []error
	for _, r := range started {
		if w.fed {
			errs = append(errs, r.poll())
		}
	}
	return errors.Join(errs...)
}

// frameRates measures frames a second that arrive at the worker, of pinned senders
// that lose none: 60 octets, of one client and of many in turn.
func (b *bench) frameRates(ctx context.Context) (err error) {
	if len(b.ways("60")) > 0 {
		if err := b.oneClient(ctx); err != nil {
			return err
		}
	}
	for _, clients := range []int{1, 1000, 65536, 1_000_000} {
		if err := b.manyClients(ctx, clients); err != nil {
			return fmt.Errorf("%d clients: %w", clients, err)
		}
	}
	return nil
}

// oneClient compares all variants: one client, both processors, and a flood of
// unknown MACs, of ours at tc and in the driver, and of a program that drops them at tc without a look.
func (b *bench) oneClient(ctx context.Context) (err error) {
	var started []*running
	defer func() { err = errors.Join(err, closeAll(started)) }()
	for _, v := range []variant{direct(), limit(), ours(), oursPeer(), seed(), peer(), xdp(), macvlan(), u32(), nft(), flower(), ovs(), drop(), oursEarly()} {
		r, err := v.start(ctx, 2)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: left out: %v\n", err)
			continue
		}
		started = append(started, r)
	}
	for _, w := range b.ways("60") {
		rates, err := w.oneClient(started)
		if err == nil {
			err = b.takeRates(ctx, rates)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w way) oneClient(started []*running) (rates []rate, err error) {
	if err := w.prepare(started); err != nil {
		return nil, err
	}
	for _, r := range started {
		v := r.variant
		onlyDrops := v.name == "drop" || v.name == "ours-early"
		if onlyDrops || v.name == "ours" {
			strangers, err := w.source(r, frames{clients: 65536, burst: burst, tagged: true, address: strangerMAC})
			if err != nil {
				return nil, err
			}
			rates = append(rates, rate{name: w.name + "/unknown", running: r, sources: []source{strangers}, dropped: true})
		}
		if onlyDrops {
			continue
		}
		var each []source
		for cpu := range min(2, runtime.NumCPU()) {
			s, err := w.source(r, frames{clients: 1, first: cpu, burst: burst, tagged: v.tagged, address: clientMAC})
			if err != nil {
				return nil, err
			}
			each = append(each, s)
		}
		rates = append(rates, rate{name: w.name + "/60", running: r, sources: each[:1]})
		if len(each) > 1 {
			rates = append(rates, rate{name: w.name + "/60/2cpus", running: r, sources: each})
		}
	}
	return rates, nil
}

// manyClients compares the variants that have a table.
func (b *bench) manyClients(ctx context.Context, clients int) (err error) {
	ways := b.ways(strconv.Itoa(clients))
	if len(ways) == 0 {
		return nil
	}
	var started []*running
	defer func() { err = errors.Join(err, closeAll(started)) }()
	f := frames{clients: clients, burst: burst, tagged: true, address: clientMAC}
	for _, v := range []variant{limit(), ours(), seed()} {
		r, err := v.start(ctx, clients)
		if err != nil {
			return err
		}
		started = append(started, r)
		if err := r.learn(f); err != nil {
			return err
		}
	}
	for _, w := range ways {
		if err := w.prepare(started); err != nil {
			return err
		}
		var rates []rate
		for _, r := range started {
			s, err := w.source(r, f)
			if err != nil {
				return err
			}
			rates = append(rates, rate{name: fmt.Sprintf("%s/%d", w.name, clients), running: r, sources: []source{s}})
		}
		if err := b.takeRates(ctx, rates); err != nil {
			return err
		}
	}
	return nil
}

// sender sends from the client's end, until the path is closed.
func (r *running) sender(f frames) (source, error) {
	s, err := newSender(r.phys, clientEnd, f)
	if err == nil {
		r.keep(s)
	}
	return s, err
}

// learn sends a frame of each client.
func (r *running) learn(f frames) error {
	s, err := newSender(r.phys, clientEnd, f)
	if err != nil {
		return err
	}
	_, err = s.send(f.clients)
	return errors.Join(err, s.Close())
}

func (b *bench) takeRates(ctx context.Context, rates []rate) error {
	for round := -1; round < b.rounds; round++ { // the first does not count
		for _, r := range rates {
			value, err := r.measure()
			if err = errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("variant %s: %w", r.running.variant.name, err)
			}
			if round < 0 {
				continue
			}
			if err := b.emit(r.name, r.running.variant.name, "frames/s", value); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure returns the frames a second.
func (r rate) measure() (float64, error) {
	before, err := r.running.delivered()
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex // guards what follows
	var perSecond float64
	var sent int
	var group errgroup.Group
	for cpu, s := range r.sources {
		group.Go(func() error {
			return pinned(cpu, func() error {
				frames, rate, err := s.rate()
				mu.Lock()
				defer mu.Unlock()
				sent += frames
				perSecond += rate
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	after, err := r.running.arrived(before, sent, r.dropped)
	if err != nil {
		return 0, err
	}
	if r.dropped {
		return perSecond, nil
	}
	return perSecond * float64(after-before) / float64(sent), nil
}

// arrived waits for the last frames and returns the counter of the far end.
func (r *running) arrived(before uint64, sent int, dropped bool) (uint64, error) {
	for end := time.Now().Add(time.Second); ; {
		after, err := r.delivered()
		switch {
		case err != nil:
			return 0, err
		case dropped && after != before:
			return 0, fmt.Errorf("%d frames of strangers were delivered", after-before)
		case dropped || after-before == uint64(sent):
			return after, nil
		case after == before && time.Now().After(end):
			return 0, fmt.Errorf("none of %d frames arrived", sent)
		case time.Now().After(end):
			fmt.Fprintf(os.Stderr, "bench: %s lost %d of %d frames: they do not count\n", r.variant.name, uint64(sent)-(after-before), sent)
			return after, nil
		}
	}
}
