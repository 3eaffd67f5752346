package harness

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// saveCapture writes one pcapng file of all taps of the last window. It has what each tap kept, and the wrong frames wherever they were seen.
func (l *Lab) saveCapture(ctx context.Context, path string) error {
	taps, err := l.host.agent.StopTaps(ctx)
	if err != nil || len(taps) == 0 {
		return err
	}
	wrong := map[probe.Fingerprint]*ledger.Rejected{}
	if windows := l.ClosedWindows(); len(windows) > 0 {
		rejected := windows[len(windows)-1].Verdict.Rejected
		for i := range rejected {
			wrong[rejected[i].Fingerprint] = &rejected[i]
		}
	}
	retained := l.retained(ctx)
	var merged probe.MergedCapture
	for _, tap := range taps {
		merged.AddTap(tap.Point.Name)
	}
	journeys, err := l.host.agent.Journeys(ctx)
	if err != nil {
		return err
	}
	defer journeys.Close() //nolint:errcheck // only read
	for steps, err := range probe.ReadJourneys(journeys) {
		if err != nil {
			return fmt.Errorf("reading what the taps saw: %w", err)
		}
		frame := wrong[steps[0].Fingerprint]
		for i := range steps {
			step := &steps[i]
			octets, _ := retained(taps[step.Tap].Point.Name, step.Fingerprint)
			comment := ""
			if frame != nil {
				comment = "wrong: " + frame.Comment
				if octets == nil {
					octets = frame.Octets
				}
			}
			merged.Add(step, octets, comment)
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(merged.Write(file), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half of it would mislead
	}
	return nil
}
