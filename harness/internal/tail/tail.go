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
}

// New returns a buffer of at most limit octets.
func New(limit int) *Buffer { return &Buffer{limit: limit} }

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content = append(b.content, p...)
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
