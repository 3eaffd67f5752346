package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// perTurn is how many frames a program gets in its turn.
const perTurn = 3000

// turn is one program and the frames that make it run.
type turn struct {
	name, variant string
	program       *ebpf.Program
	sender        *sender
	frames        int // in a turn
}

// programs measures what each program costs for one frame of live traffic: by
// the kernel's own clock around each run, less what an empty program costs. In
// program/ each frame comes alone, after a system call; in burst/ 64 of them in
// a row, when caches and branch predictors still know the program.
func (b *bench) programs(ctx context.Context) (err error) {
	turns := map[int][]turn{} // by burst
	var started []*running
	defer func() { err = errors.Join(err, closeAll(started)) }()
	for _, v := range []variant{ours(), oursPeer(), limit(), peer(), seed()} {
		r, err := v.start(ctx, 1)
		if err != nil {
			return err
		}
		started = append(started, r)
		for name, burst := range map[string]int{"program": 1, "burst": burst} {
			in, out, err := r.senders(burst)
			if err != nil {
				return err
			}
			turns[burst] = append(turns[burst],
				turn{name + "/phys2virt", v.name, r.phys2virt, in, perTurn},
				turn{name + "/virt2phys", v.name, r.virt2phys, out, perTurn})
		}
	}
	return errors.Join(b.takeTurns(ctx, 1, turns[1]), b.takeTurns(ctx, burst, turns[burst]))
}

// senders sends from the client, and from its worker to it. The first lets the
// variant learn where the client is.
func (r *running) senders(burst int) (in, out *sender, err error) {
	in, err = newSender(r.phys, clientEnd, frames{clients: 1, burst: burst, tagged: r.variant.tagged, address: clientMAC})
	if err != nil {
		return nil, nil, err
	}
	r.keep(in)
	out, err = newSender(r.virt, r.far, frames{clients: 1, burst: burst, toClients: true, address: clientMAC})
	if err != nil {
		return nil, nil, err
	}
	r.keep(out)
	_, err = in.send(1)
	return in, out, err
}

// takeTurns measures all programs, and an empty one beside them.
func (b *bench) takeTurns(ctx context.Context, burst int, turns []turn) (err error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("turning BPF run statistics on: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	r, err := drop().start(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	in, _, err := r.senders(burst)
	if err != nil {
		return err
	}
	empty := turn{name: "overhead", variant: "empty", program: r.phys2virt, sender: in, frames: perTurn}

	costs, overheads := make([][]float64, len(turns)), []float64{}
	err = pinned(0, func() error {
		for round := -1; round < b.rounds; round++ { // the first does not count
			overhead, err := empty.cost()
			if err != nil {
				return err
			}
			overheads = append(overheads, overhead)
			for i, t := range turns {
				cost, err := t.cost()
				if err != nil {
					return fmt.Errorf("variant %s of %s: %w", t.variant, t.name, err)
				}
				if round >= 0 {
					costs[i] = append(costs[i], cost)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	overhead := median(overheads)
	for i, t := range turns {
		for _, cost := range costs[i] {
			if err := b.emit(t.name, t.variant, "ns", cost-overhead); err != nil {
				return err
			}
		}
	}
	return nil
}

// cost lets the program run and returns what a run took, in ns: the median of ten
// slices, so that one in which another process had the processor does not count.
func (t turn) cost() (float64, error) {
	costs := make([]float64, 10)
	for i := range costs {
		var err error
		if costs[i], err = t.slice(max(1, t.frames/len(costs))); err != nil {
			return 0, err
		}
	}
	return median(costs), nil
}

func (t turn) slice(frames int) (float64, error) {
	before, err := t.program.Stats()
	if err != nil {
		return 0, err
	}
	sent, err := t.sender.send(frames)
	if err != nil {
		return 0, err
	}
	for end := time.Now().Add(10 * time.Second); ; {
		after, err := t.program.Stats()
		if err != nil {
			return 0, err
		}
		runs := after.RunCount - before.RunCount
		if runs >= uint64(sent) {
			return float64((after.Runtime - before.Runtime).Nanoseconds()) / float64(runs), nil
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("the program ran %d times for %d frames", runs, sent)
		}
	}
}

// instructions emits what the verifier went through for each of vlandemux's programs.
func (b *bench) instructions(ctx context.Context) (err error) {
	p, err := newPath(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if _, err := startDemux(ctx, p, 1); err != nil {
		return err
	}
	for id := ebpf.ProgramID(0); ; {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			break
		}
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it has gone
		}
		info, err := program.Info()
		if err = errors.Join(err, program.Close()); err != nil {
			return err
		}
		count, known := info.VerifiedInstructions()
		if known && slices.Contains([]string{"phys2virt", "virt2phys", "recount"}, info.Name) {
			err = b.emit("verifier/"+info.Name, "ours", "instructions", float64(count))
		}
		if err != nil {
			return err
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for programs: %w", err)
	}
	return nil
}

func closeAll(started []*running) error {
	var errs []error
	for _, r := range started {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
