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

// A program gets so many frames in its turn, and has so many turns in a round.
const (
	perTurn       = 300
	turnsPerRound = 30
)

// turn is one program and the frames that make it run.
type turn struct {
	name, variant string
	program       *ebpf.Program
	sender        *sender
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
				turn{name + "/phys2virt", v.name, r.phys2virt, in},
				turn{name + "/virt2phys", v.name, r.virt2phys, out})
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
	all := append([]turn{{name: "overhead", variant: "empty", program: r.phys2virt, sender: in}}, turns...)

	costs := make([][]float64, len(turns))
	err = pinned(0, func() error {
		for round := -1; round < b.rounds; round++ { // the first does not count
			took, err := takeRound(all)
			if err != nil {
				return err
			}
			for i := range turns {
				if round >= 0 {
					costs[i] = append(costs[i], took[i+1]-took[0])
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, t := range turns {
		for _, cost := range costs[i] {
			if err := b.emit(t.name, t.variant, "ns", cost); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeRound returns what a run of each program took, in ns: the median of its turns, so that one in which another
// process had the processor does not count. They are short, so that a change of the clock meets all programs.
func takeRound(all []turn) ([]float64, error) {
	costs, medians := make([][]float64, len(all)), make([]float64, len(all))
	for range turnsPerRound {
		for i, t := range all {
			cost, err := t.take()
			if err != nil {
				return nil, fmt.Errorf("variant %s of %s: %w", t.variant, t.name, err)
			}
			costs[i] = append(costs[i], cost)
		}
	}
	for i := range all {
		medians[i] = median(costs[i])
	}
	return medians, nil
}

// take lets the program run and returns what a run took on average, in ns.
func (t turn) take() (float64, error) {
	before, err := t.program.Stats()
	if err != nil {
		return 0, err
	}
	sent, err := t.sender.send(perTurn)
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
