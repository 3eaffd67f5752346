package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// tapSet is the taps of a lab by name.
type tapSet struct {
	mu   sync.RWMutex // a caller that reads journeys may ask a tap meanwhile
	taps []*probe.Tap // guarded by mu

	spares      probe.Spares   // of this lab's taps and of the last lab's
	closing     sync.WaitGroup // taps that were let go
	errorsMu    sync.Mutex
	closeErrors []error // of those; guarded by errorsMu
}

func (h *host) tapRoutes(mux *http.ServeMux) {
	handle(mux, "/taps/start", h.startTaps)
	handle(mux, "/taps/mark", func(ctx context.Context, _ Nothing) ([]probe.TapReport, error) {
		return h.taps.each(ctx, (*probe.Tap).Mark)
	})
	handle(mux, "/taps/stop", func(ctx context.Context, _ Nothing) ([]probe.TapReport, error) {
		return h.taps.each(ctx, (*probe.Tap).Stop)
	})
	handle(mux, "/taps/late", func(ctx context.Context, _ Nothing) ([]LateSighting, error) { return h.taps.late(ctx) })
	handle(mux, "/taps/await", h.taps.await)
	handle(mux, "/taps/watch", h.taps.watch)
	handle(mux, "/taps/retained", h.taps.retained)
	mux.HandleFunc("POST /taps/journeys", h.taps.journeys)
}

// LateSighting is a frame that a tap saw after its mark.
type LateSighting struct {
	Tap string `json:"tap"`
	probe.Sighting
}

// StartTaps taps every point and returns once all of them capture; on an error none does. Earlier taps go on as new ones
// or are let go after that: what they have seen since MarkTaps is returned. No frame is missed between the two. Host only.
func (c *Client) StartTaps(ctx context.Context, points []probe.TapPoint) ([]LateSighting, error) {
	return call[[]probe.TapPoint, []LateSighting](ctx, c, "/taps/start", points)
}

// MarkTaps returns the taps' reports on what has crossed so far, in the order they were started. The taps go on; what they had seen by then
// can be downloaded.
func (c *Client) MarkTaps(ctx context.Context) ([]probe.TapReport, error) {
	return call[Nothing, []probe.TapReport](ctx, c, "/taps/mark", Nothing{})
}

// LateSightings are what taps that were stopped have seen since MarkTaps.
func (c *Client) LateSightings(ctx context.Context) ([]LateSighting, error) {
	return call[Nothing, []LateSighting](ctx, c, "/taps/late", Nothing{})
}

// StopTaps ends the capture and returns the taps' reports in the order they were started. What they recorded stays until StartTaps or the end.
func (c *Client) StopTaps(ctx context.Context) ([]probe.TapReport, error) {
	return call[Nothing, []probe.TapReport](ctx, c, "/taps/stop", Nothing{})
}

// watchRequest is the body of /taps/watch.
type watchRequest struct {
	Tap        string   `json:"tap"`
	EtherTypes []uint16 `json:"ether_types"`
}

// WatchEtherTypes returns once a tap of what goes on to a stack sees these EtherTypes too.
func (c *Client) WatchEtherTypes(ctx context.Context, tap string, etherTypes []uint16) error {
	_, err := call[watchRequest, Nothing](ctx, c, "/taps/watch", watchRequest{Tap: tap, EtherTypes: etherTypes})
	return err
}

// Journeys downloads what all taps saw before MarkTaps, by frame, for [probe.ReadJourneys]; a step's Tap is an index of their reports. The caller
// closes it.
func (c *Client) Journeys(ctx context.Context) (io.ReadCloser, error) {
	return open(ctx, c, "/taps/journeys", Nothing{}, nil)
}

// Retained are the frames that a stopped tap kept whole, see [probe.Tap.Retained].
func (c *Client) Retained(ctx context.Context, tap string) (map[probe.Fingerprint][]byte, error) {
	return call[string, map[probe.Fingerprint][]byte](ctx, c, "/taps/retained", tap)
}

func (h *host) startTaps(ctx context.Context, points []probe.TapPoint) ([]LateSighting, error) {
	seen := make(map[string]bool)
	for _, point := range points {
		if seen[point.Name] {
			return nil, fmt.Errorf("starting taps: two are called %q", point.Name)
		}
		seen[point.Name] = true
	}
	h.taps.mu.Lock()
	defer h.taps.mu.Unlock()
	if err := h.listenToDrops(); err != nil {
		return nil, err
	}
	taps, errs, again := make([]*probe.Tap, len(points)), make([]error, len(points)), make([][]probe.Sighting, len(points))
	var opening sync.WaitGroup // most of opening one is waiting for the kernel
	for i, point := range points {
		opening.Go(func() { taps[i], again[i], errs[i] = h.startTap(ctx, point) })
	}
	opening.Wait()
	// Frames that the taps have seen which go on as new ones, and those of the others.
	late := []LateSighting{}
	for i, sightings := range again {
		late = appendLate(late, points[i].Name, sightings)
	}
	h.taps.taps = slices.DeleteFunc(h.taps.taps, func(t *probe.Tap) bool { return slices.Contains(taps, t) })
	late, err := h.taps.lateLocked(ctx, late)
	errs = append(errs, err)
	h.taps.letGoLocked()
	h.taps.taps = slices.DeleteFunc(taps, func(t *probe.Tap) bool { return t == nil })
	if err := errors.Join(errs...); err != nil {
		h.taps.letGoLocked()
		return nil, err
	}
	return late, nil
}

// startTap taps a point anew, by the tap that is there if it can go on, with what that saw since it was marked.
func (h *host) startTap(ctx context.Context, point probe.TapPoint) (tap *probe.Tap, late []probe.Sighting, err error) {
	for _, tap := range h.taps.taps {
		if reflect.DeepEqual(tap.Point(), point) {
			if late, again, err := tap.Again(ctx); again || err != nil {
				return tap, late, err
			}
		}
	}
	err = h.within(point, func() (err error) {
		tap, err = probe.OpenTap(point, probe.TapOptions{Spares: &h.taps.spares})
		return err
	})
	return tap, nil, err
}

// mostLate bounds how many late sightings are told.
const mostLate = 10_000

func (s *tapSet) late(ctx context.Context) ([]LateSighting, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lateLocked(ctx, []LateSighting{})
}

// lateLocked appends what the taps saw after their mark.
func (s *tapSet) lateLocked(ctx context.Context, late []LateSighting) ([]LateSighting, error) {
	for _, tap := range s.taps {
		sightings, err := tap.Late(ctx)
		if err != nil {
			return nil, err
		}
		late = appendLate(late, tap.Point().Name, sightings)
	}
	return late, nil
}

func appendLate(late []LateSighting, tap string, sightings []probe.Sighting) []LateSighting {
	for _, sighting := range sightings[:min(len(sightings), mostLate-len(late))] {
		late = append(late, LateSighting{Tap: tap, Sighting: sighting})
	}
	return late
}

// each stops or marks all taps at once, so that none goes on recording while another drains.
func (s *tapSet) each(ctx context.Context, do func(*probe.Tap, context.Context) (probe.TapReport, error)) ([]probe.TapReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reports := make([]probe.TapReport, len(s.taps))
	errs := make([]error, len(s.taps))
	var doing sync.WaitGroup
	for i, tap := range s.taps {
		doing.Go(func() { reports[i], errs[i] = do(tap, ctx) })
	}
	doing.Wait()
	return reports, errors.Join(errs...)
}

func (s *tapSet) watch(_ context.Context, r watchRequest) (Nothing, error) {
	tap, err := s.find(r.Tap)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, tap.Watch(r.EtherTypes)
}

func (s *tapSet) retained(_ context.Context, name string) (map[probe.Fingerprint][]byte, error) {
	tap, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return tap.Retained()
}

// journeys joins here what all taps saw: it is four times as much on the wire.
func (s *tapSet) journeys(w http.ResponseWriter, _ *http.Request) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen, errs := make([]iter.Seq2[int, probe.Sighting], len(s.taps)), make([]error, len(s.taps))
	for i, tap := range s.taps {
		seen[i], errs[i] = tap.Sightings()
	}
	if err := errors.Join(errs...); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := probe.WriteJourneys(w, seen); err != nil {
		panic(http.ErrAbortHandler) // the caller is gone
	}
}

func (s *tapSet) find(name string) (*probe.Tap, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, tap := range s.taps {
		if tap.Point().Name == name {
			return tap, nil
		}
	}
	return nil, fmt.Errorf("there is no tap %q", name)
}

// close lets the taps go and waits until they are closed. Their rings are kept for the next lab.
func (s *tapSet) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(s.spares.Trim())
	s.letGoLocked()
	s.closing.Wait()
	s.errorsMu.Lock()
	defer s.errorsMu.Unlock()
	err := errors.Join(s.closeErrors...)
	s.closeErrors = nil
	return err
}

// letGoLocked ends the captures and forgets what they recorded. It does not wait for the kernel, which takes tens of milliseconds: close does.
func (s *tapSet) letGoLocked() {
	for _, tap := range s.taps {
		s.closeLocked(tap.Close)
	}
	s.taps = nil
}

func (s *tapSet) closeLocked(do func() error) {
	s.closing.Go(func() {
		if err := do(); err != nil {
			s.errorsMu.Lock()
			defer s.errorsMu.Unlock()
			s.closeErrors = append(s.closeErrors, err)
		}
	})
}
