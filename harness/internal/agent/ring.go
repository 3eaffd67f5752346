package agent

import (
	"bytes"
	"sync"
)

// ring keeps the last octets written to it. Safe for concurrent use.
type ring struct {
	mu      sync.Mutex
	limit   int
	content []byte // guarded by mu
	lost    bool   // guarded by mu
}

func newRing(limit int) *ring { return &ring{limit: limit} }

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.content = append(r.content, p...)
	if over := len(r.content) - r.limit; over > 0 {
		r.content = append(r.content[:0], r.content[over:]...)
		r.lost = true
	}
	return len(p), nil
}

// String is what is kept; when something was lost it starts at a whole line and says so.
func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lost {
		return string(r.content)
	}
	rest := r.content
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[i+1:]
	}
	return "[earlier output was dropped]\n" + string(rest)
}
