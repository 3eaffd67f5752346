package probe

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// mostSpare is the octets of the rings that are kept.
const mostSpare = 256 << 20

// Spares are rings of taps that have ended, for taps to come in the same network namespaces: to make one, the kernel clears megabytes of
// memory and waits for each processor. They keep their namespaces alive. nil keeps none. Its methods are safe for concurrent use.
type Spares struct {
	mu     sync.Mutex
	rings  []*ring // guarded by mu
	octets int     // guarded by mu; of all of them
}

// take returns one that has seen nothing yet, or nil.
func (s *Spares) take(kind ringKind) *ring {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.rings, func(r *ring) bool { return r.ringKind == kind })
	if i < 0 {
		return nil
	}
	r := s.rings[i]
	s.rings = slices.Delete(s.rings, i, i+1)
	s.octets -= r.octets()
	_ = r.failure() // an interface that went has left an error, which ends with its being told
	r.down, r.unwanted = 0, false
	return r
}

// put keeps a ring for others, but for what was counted, or closes it.
func (s *Spares) put(r *ring) error {
	// What was lost or not read may have left it anywhere.
	if s == nil || !r.ended || r.dropped != 0 || r.read != r.packets || r.unfilter() != nil {
		return r.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.octets+r.octets() > mostSpare {
		return r.close()
	}
	s.octets += r.octets()
	s.rings = append(s.rings, &ring{ringKind: r.ringKind, fd: r.fd, mem: r.mem, next: r.next})
	return nil
}

// unfilter takes the filter off.
func (r *ring) unfilter() error {
	if r.filter == nil {
		return nil
	}
	err := errors.Join(unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0), r.filter.close())
	r.filter = nil
	if err != nil {
		return fmt.Errorf("detaching the filter of a packet socket: %w", err)
	}
	return nil
}

// Trim ends those that nobody has taken since the last call. What it returns closes them, and takes as long as the kernel waits for each processor.
func (s *Spares) Trim() (closeThem func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var unwanted []*ring
	s.rings = slices.DeleteFunc(s.rings, func(r *ring) bool {
		if r.unwanted {
			unwanted = append(unwanted, r)
			s.octets -= r.octets()
		}
		return r.unwanted
	})
	for _, r := range s.rings {
		r.unwanted = true
	}
	return func() error {
		errs := make([]error, len(unwanted))
		var closing sync.WaitGroup
		for i, r := range unwanted {
			closing.Go(func() { errs[i] = r.close() })
		}
		closing.Wait()
		return errors.Join(errs...)
	}
}

// Close ends them all.
func (s *Spares) Close() error { return errors.Join(s.Trim()(), s.Trim()()) }
