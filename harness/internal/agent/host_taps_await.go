package agent

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// awaitInterval is how often the taps' totals are looked at. A tap's own lags behind the wire by more.
const awaitInterval = 2 * time.Millisecond

// awaitRequest is the body of /taps/await.
type awaitRequest struct {
	Frames map[string]uint64 `json:"frames"`
	Still  time.Duration     `json:"still"`
}

// AwaitTaps returns once each of the taps named in frames has seen as many since StartTaps, or no tap has seen any for the time
// still. Without frames, that alone ends it. It gives the number of wire frames that each tap has seen so far, by its point's
// name. Host only.
func (c *Client) AwaitTaps(ctx context.Context, frames map[string]uint64, still time.Duration) (totals map[string]uint64, err error) {
	return call[awaitRequest, map[string]uint64](ctx, c, "/taps/await", awaitRequest{Frames: frames, Still: still})
}

func (s *tapSet) await(ctx context.Context, r awaitRequest) (map[string]uint64, error) {
	tick := time.NewTicker(awaitInterval)
	defer tick.Stop()
	last, since := s.totals(), time.Now()
	for !arrived(r.Frames, last) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
		// On a busy machine neither this nor the taps may have run for a while.
		still := time.Since(since) >= r.Still
		if still {
			if err := s.catchUp(ctx); err != nil {
				return last, err
			}
		}
		if now := s.totals(); !maps.Equal(now, last) {
			last, since = now, time.Now()
		} else if still {
			break
		}
	}
	return last, nil
}

// catchUp returns once the totals are those of everything that has crossed before the call.
func (s *tapSet) catchUp(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	errs := make([]error, len(s.taps))
	var asking sync.WaitGroup
	for i, tap := range s.taps {
		asking.Go(func() { errs[i] = tap.CatchUp(ctx) })
	}
	asking.Wait()
	return errors.Join(errs...)
}

func arrived(frames, totals map[string]uint64) bool {
	for tap, n := range frames {
		if totals[tap] < n {
			return false
		}
	}
	return len(frames) > 0
}

func (s *tapSet) totals() map[string]uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	totals := make(map[string]uint64, len(s.taps))
	for _, tap := range s.taps {
		totals[tap.Point().Name] = tap.Total()
	}
	return totals
}
