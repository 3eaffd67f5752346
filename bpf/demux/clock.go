package demux

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clocks are how many nanoseconds this process's clocks are ahead of those that BPF programs read, by what the kernel calls
// them: a time namespace has its own.
type clocks map[string]int64

const (
	monotonic = "monotonic"
	boottime  = "boottime"
)

func readClocks() (clocks, error) {
	text, err := os.ReadFile("/proc/self/timens_offsets")
	if errors.Is(err, fs.ErrNotExist) { // a kernel without time namespaces
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the clocks of the time namespace: %w", err)
	}
	ahead := make(clocks)
	for line := range strings.Lines(string(text)) {
		var name string
		var seconds, nanoseconds int64
		if _, err := fmt.Sscan(line, &name, &seconds, &nanoseconds); err != nil {
			return nil, fmt.Errorf("reading the clocks of the time namespace: %q: %w", line, err)
		}
		ahead[name] = seconds*int64(time.Second) + nanoseconds
	}
	return ahead, nil
}

// now reads a clock as BPF programs do, in nanoseconds.
func (c clocks) now(name string) (uint64, error) {
	id := map[string]int32{monotonic: unix.CLOCK_MONOTONIC, boottime: unix.CLOCK_BOOTTIME}[name]
	var now unix.Timespec
	if err := unix.ClockGettime(id, &now); err != nil {
		return 0, fmt.Errorf("reading the %s clock: %w", name, err)
	}
	return uint64(now.Nano() - c[name]), nil
}

// wall turns what a BPF program read of the boot clock into wall-clock time, as that is set now. The two clocks are read
// one after the other, so it tries again when something came in between.
func (c clocks) wall(ns uint64) (time.Time, error) {
	var at time.Time
	best := time.Duration(math.MaxInt64)
	for range 5 {
		before := time.Now()
		boot, err := c.now(boottime)
		if err != nil {
			return at, err
		}
		if gap := time.Since(before); gap < best {
			best, at = gap, before.Round(0).Add(time.Duration(ns-boot))
		}
		if best < 20*time.Microsecond {
			break
		}
	}
	return at, nil
}
