package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// tables measures what vlandemux needs for many clients: to start, to start again on
// what is pinned, to assign, to count, and how much memory.
func (b *bench) tables(ctx context.Context) error {
	for _, clients := range []int{65_536, 100_000, 1_000_000} {
		if !b.wants(fmt.Sprintf("start/%d", clients)) {
			continue
		}
		if err := b.table(ctx, clients); err != nil {
			return fmt.Errorf("%d clients: %w", clients, err)
		}
	}
	return nil
}

func (b *bench) table(ctx context.Context, clients int) (err error) {
	name := func(group string) string { return fmt.Sprintf("%s/%d", group, clients) }
	seconds := func(group string, took time.Duration) error { return b.emit(name(group), "ours", "s", took.Seconds()) }
	for range min(b.rounds, 3) {
		r, err := ours().start(ctx, clients)
		if err != nil {
			return err
		}
		err = errors.Join(seconds("start", r.demux.took), b.running(ctx, r, name, seconds))
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// running measures a vlandemux that has started.
func (b *bench) running(ctx context.Context, r *running, name func(string) string, seconds func(string, time.Duration) error) error {
	octets, err := r.demux.resident()
	if err == nil {
		var maps, eachCPU float64
		maps, eachCPU, err = mapped(r.phys2virt)
		clients, cpus := float64(r.demux.clients), float64(ebpf.MustPossibleCPU())
		err = errors.Join(err, b.emit(name("memory"), "process", "B/client", octets/clients))
		for _, possible := range []float64{2, 128} { // the kernel has one of them at most: reckoned
			err = errors.Join(err, b.emit(name("memory"), fmt.Sprintf("maps-%gcpus", possible), "B/client", (maps+(possible-cpus)*eachCPU)/clients))
		}
	}
	if err != nil {
		return fmt.Errorf("reading how much memory it takes: %w", err)
	}
	start := time.Now()
	if _, err := r.demux.control.Counters(ctx); err != nil {
		// The client refuses answers that are too large.
		fmt.Fprintln(os.Stderr, "bench: counters are left out:", err)
	} else if err := seconds("counters", time.Since(start)); err != nil {
		return err
	}
	if r.demux.clients == 1_000_000 {
		for i := range b.rounds {
			start := time.Now()
			if err := r.demux.control.Assign(ctx, strangerMAC(i).String(), workerEnd); err != nil {
				return err
			}
			if err := b.emit("assign/1", "ours", "ms", float64(time.Since(start).Microseconds())/1000); err != nil {
				return err
			}
		}
	}
	if r.demux.clients == 1_000_000 {
		pairs := make([]demux.Assignment, 10_000)
		for i := range pairs {
			pairs[i] = demux.Assignment{MAC: demux.MAC(strangerMAC(1000 + i)), Worker: workerEnd}
		}
		start := time.Now()
		if _, err := r.demux.control.Apply(ctx, pairs, false, false); err != nil {
			return err
		}
		if err := b.emit("assign/10000", "ours", "ms", float64(time.Since(start).Microseconds())/1000); err != nil {
			return err
		}
	}
	if err := errors.Join(r.demux.stop(), r.demux.run(ctx)); err != nil {
		return err
	}
	return seconds("restart", r.demux.took)
}
