package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrStill is why [Window.Await] gave up: nothing moves in the lab any more.
var ErrStill = errors.New("no tap sees anything new any more")

// Await returns once each of the taps has recorded that many frames since the
// window opened, in both directions together. So whatever is sent next comes
// after them, and what has been recorded no longer takes up room in a tap's ring.
// When the lab stands still instead, the error is [ErrStill]: Close can tell then
// which frames are missing.
func (w *Window) Await(ctx context.Context, frames map[string]uint64) error {
	for len(frames) > 0 {
		patience := w.patience()
		totals, err := w.lab.host.agent.AwaitTaps(ctx, frames, patience)
		lacking := missing(frames, totals)
		switch {
		case err != nil:
			return fmt.Errorf("waiting for frames at the taps: %w", err)
		case lacking == "":
			return nil
		case w.patience() <= patience: // nobody has begun to send meanwhile
			return fmt.Errorf("waiting for frames at the taps: %s: %w", lacking, ErrStill)
		}
	}
	return nil
}

// missing names the taps that have seen fewer frames than wanted, "" for none.
func missing(frames, totals map[string]uint64) string {
	var taps []string
	for _, tap := range slices.Sorted(maps.Keys(frames)) {
		if totals[tap] < frames[tap] {
			taps = append(taps, fmt.Sprintf("%s saw %d of %d frames", tap, totals[tap], frames[tap]))
		}
	}
	return strings.Join(taps, ", ")
}

// patience is how long the taps may see nothing new before nothing more will come.
func (w *Window) patience() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sending > 0 {
		return stillWhileSending
	}
	return stillFor
}

// A lab is quiet when no tap has seen a frame for this time. Where sockets may
// send, it is longer than a delayed TCP acknowledgement (40 to 200 ms); where
// they may not, a frame only has to cross the lab.
const (
	quietFor        = 100 * time.Millisecond
	quietForSockets = 250 * time.Millisecond

	// Far beyond what a frame takes, on emulated processors too. A sender may be slow.
	stillFor          = time.Second
	stillWhileSending = 10 * time.Second
)

// quiet waits until the taps' totals have not changed for the time enough.
func (l *Lab) quiet(ctx context.Context, enough time.Duration) error {
	if _, err := l.host.agent.AwaitTaps(ctx, nil, enough); err != nil {
		return fmt.Errorf("waiting for the lab to be quiet: %w", err)
	}
	return nil
}

// silence waits until a new lab is quiet. No window is open yet: the taps that it
// starts go on until the first window opens.
func (l *Lab) silence(ctx context.Context) error {
	points, err := l.host.agent.TapPoints(ctx)
	if err != nil {
		return fmt.Errorf("listing the lab's interfaces: %w", err)
	}
	if _, err := l.host.agent.StartTaps(ctx, points); err != nil {
		return fmt.Errorf("waiting for the lab to be quiet: %w", err)
	}
	return l.quiet(ctx, quietFor)
}
