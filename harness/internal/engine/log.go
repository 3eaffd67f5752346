package engine

import "sync"

// logLimit is how much of a container's stderr is kept, in octets.
const logLimit = 64 << 10

// logRing keeps the last octets written to it. It is safe for concurrent use and its Write never fails.
type logRing struct {
	mu      sync.Mutex
	buf     []byte // at most 2*limit, so that old octets are dropped once in a while and not at each write
	limit   int
	dropped bool
}

func (r *logRing) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(r.buf, p...)
	if len(r.buf) > 2*r.limit {
		r.buf = append(r.buf[:0], r.buf[len(r.buf)-r.limit:]...)
		r.dropped = true
	}
	return len(p), nil
}

// String returns what is kept, and says so when earlier octets are gone.
func (r *logRing) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.buf
	if len(kept) > r.limit {
		kept = kept[len(kept)-r.limit:]
	}
	if r.dropped || len(kept) < len(r.buf) {
		return "[earlier output is gone]\n" + string(kept)
	}
	return string(kept)
}
