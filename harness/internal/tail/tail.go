// Package tail keeps the end of what a process writes.
package tail

import (
	"bytes"
	"sync"
)

// Buffer keeps the last octets written to it. Safe for concurrent use. Its Write never fails.
type Buffer struct {
	mu      sync.Mutex
	limit   int
	content []byte // guarded by mu
	lost    bool   // guarded by mu
	written int64  // guarded by mu; in all
}

// New returns a buffer of at most limit octets.
func New(limit int) *Buffer { return &Buffer{limit: limit} }

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content = append(b.content, p...)
	b.written += int64(len(p))
	if over := len(b.content) - b.limit; over > 0 {
		b.content = append(b.content[:0], b.content[over:]...)
		b.lost = true
	}
	return len(p), nil
}

// String is what is kept; when something was lost it starts at a whole line and says so.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.lost {
		return string(b.content)
	}
	rest := b.content
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[i+1:]
	}
	return "[earlier output was dropped]\n" + string(rest)
}

// Octets is how many were written in all.
func (b *Buffer) Octets() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written
}

// Since is what is kept of what was written after the first octets.
func (b *Buffer) Since(octets int64) string {
	b.mu.Lock()
	if wanted := b.written - octets; wanted <= int64(len(b.content)) {
		defer b.mu.Unlock()
		return string(b.content[int64(len(b.content))-max(wanted, 0):])
	}
	b.mu.Unlock()
	return b.String()
}
