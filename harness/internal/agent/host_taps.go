package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// tapSet is the taps of a lab by name.
type tapSet struct {
	mu   sync.Mutex
	taps []*probe.Tap // guarded by mu
}

func (h *host) tapRoutes(mux *http.ServeMux) {
	handle(mux, "/taps/start", h.startTaps)
	handle(mux, "/taps/stop", func(ctx context.Context, _ Nothing) ([]probe.TapReport, error) { return h.taps.stop(ctx) })
	handle(mux, "/taps/totals", func(context.Context, Nothing) (map[string]uint64, error) { return h.taps.totals(), nil })
	mux.HandleFunc("GET /taps/sightings", h.taps.download((*probe.Tap).WriteSightings))
	mux.HandleFunc("GET /taps/capture", h.taps.download((*probe.Tap).WriteCapture))
}

// StartTaps taps every point and returns once all of them capture; on an error none does. What earlier taps recorded is let go. Host only.
func (c *Client) StartTaps(ctx context.Context, points []probe.TapPoint) error {
	_, err := call[[]probe.TapPoint, Nothing](ctx, c, "/taps/start", points)
	return err
}

// StopTaps ends the capture and returns the taps' reports in the order they were started. What they recorded stays until StartTaps or the end.
func (c *Client) StopTaps(ctx context.Context) ([]probe.TapReport, error) {
	return call[Nothing, []probe.TapReport](ctx, c, "/taps/stop", Nothing{})
}

// TapTotals is the number of wire frames each tap has seen so far, by its point's name.
func (c *Client) TapTotals(ctx context.Context) (map[string]uint64, error) {
	return call[Nothing, map[string]uint64](ctx, c, "/taps/totals", Nothing{})
}

// Sightings downloads what a stopped tap saw, for [probe.ReadSightings]. The caller closes it.
func (c *Client) Sightings(ctx context.Context, tap string) (io.ReadCloser, error) {
	return c.download(ctx, "/taps/sightings?tap="+url.QueryEscape(tap))
}

// TapCapture downloads the frames a stopped tap kept whole, as pcapng. The caller closes it.
func (c *Client) TapCapture(ctx context.Context, tap string) (io.ReadCloser, error) {
	return c.download(ctx, "/taps/capture?tap="+url.QueryEscape(tap))
}

func (h *host) startTaps(_ context.Context, points []probe.TapPoint) (Nothing, error) {
	seen := make(map[string]bool)
	for _, point := range points {
		if seen[point.Name] {
			return Nothing{}, fmt.Errorf("starting taps: two are called %q", point.Name)
		}
		seen[point.Name] = true
	}
	h.taps.mu.Lock()
	defer h.taps.mu.Unlock()
	if err := h.taps.closeLocked(); err != nil {
		return Nothing{}, fmt.Errorf("letting go of earlier taps: %w", err)
	}
	taps, errs := make([]*probe.Tap, len(points)), make([]error, len(points))
	var opening sync.WaitGroup // most of opening one is waiting for the kernel
	for i, point := range points {
		opening.Go(func() {
			var err error
			if taps[i], err = h.openTap(point); err != nil {
				errs[i] = fmt.Errorf("tapping %s: %w", point.Name, err)
			}
		})
	}
	opening.Wait()
	h.taps.taps = slices.DeleteFunc(taps, func(t *probe.Tap) bool { return t == nil })
	if err := errors.Join(errs...); err != nil {
		return Nothing{}, errors.Join(err, h.taps.closeLocked())
	}
	return Nothing{}, nil
}

// openTap hands the tap the descriptor of a namespace that only the network knows; the others it opens itself.
func (h *host) openTap(point probe.TapPoint) (*probe.Tap, error) {
	var options probe.TapOptions
	if point.PID == 0 && point.Namespace != "" {
		ns, _, err := h.namespace(point)
		if err != nil {
			return nil, err
		}
		options.NamespaceFD = int(ns.Fd())
	}
	return probe.OpenTap(point, options)
}

// stop stops all taps at once, so that none goes on recording while another drains.
func (s *tapSet) stop(ctx context.Context) ([]probe.TapReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reports := make([]probe.TapReport, len(s.taps))
	errs := make([]error, len(s.taps))
	var stopping sync.WaitGroup
	for i, tap := range s.taps {
		stopping.Go(func() {
			var err error
			if reports[i], err = tap.Stop(ctx); err != nil {
				errs[i] = fmt.Errorf("stopping tap %s: %w", tap.Point().Name, err)
			}
		})
	}
	stopping.Wait()
	return reports, errors.Join(errs...)
}

func (s *tapSet) totals() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	totals := make(map[string]uint64, len(s.taps))
	for _, tap := range s.taps {
		totals[tap.Point().Name] = tap.Total()
	}
	return totals
}

// download serves what write makes of the tap that the query names.
func (s *tapSet) download(write func(*probe.Tap, io.Writer) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("tap")
		tap := s.find(name)
		if tap == nil {
			fail(w, http.StatusNotFound, fmt.Errorf("downloading from tap %q: there is no such tap", name), nil)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		serveBody(w, func(body io.Writer) error {
			if err := write(tap, body); err != nil {
				return fmt.Errorf("downloading from tap %s: %w", name, err)
			}
			return nil
		})
	}
}

func (s *tapSet) find(name string) *probe.Tap {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tap := range s.taps {
		if tap.Point().Name == name {
			return tap
		}
	}
	return nil
}

func (s *tapSet) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeLocked()
}

func (s *tapSet) closeLocked() error {
	errs := make([]error, 0, len(s.taps))
	for _, tap := range s.taps {
		errs = append(errs, tap.Close())
	}
	s.taps = nil
	return errors.Join(errs...)
}
