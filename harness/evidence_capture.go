package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// saveCapture writes one pcapng file of all taps of the last window. It has what each tap kept, and the wrong frames wherever they were seen.
func (l *Lab) saveCapture(ctx context.Context, path string) (err error) {
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
	merged := probe.NewMergedCapture()
	for _, tap := range taps {
		if err := l.addTap(ctx, merged, tap, wrong); err != nil {
			return err
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return merged.Write(file)
}

// addTap adds what one tap saw. What it kept are the first of its sightings, without a gap.
func (l *Lab) addTap(ctx context.Context, merged *probe.MergedCapture, tap probe.TapReport, wrong map[probe.Fingerprint]*ledger.Rejected) error {
	name := tap.Point.Name
	data, err := l.capture(ctx, name)
	if err != nil {
		return err
	}
	var kept []Frame
	if tap.Retained > 0 {
		if kept, err = probe.ReadCapture(bytes.NewReader(data), name); err != nil {
			return err
		}
	}
	stream, err := l.host.agent.Sightings(ctx, name)
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // only read
	to := merged.Tap(name)
	n := 0
	for s, err := range probe.ReadSightings(stream) {
		if err != nil {
			return fmt.Errorf("reading what tap %s saw: %w", name, err)
		}
		frame := wrong[s.Fingerprint]
		comment := ""
		if frame != nil {
			comment = "wrong: " + frame.Comment
		}
		switch {
		case n < len(kept):
			to.Add(s, kept[n].Data, comment)
		case frame != nil && len(frame.Octets) > 0:
			to.Add(s, probe.Retag(frame.Octets, s.Stack()), comment)
		default:
			to.LeaveOut()
		}
		n++
	}
	return nil
}
