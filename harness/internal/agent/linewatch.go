package agent

import (
	"bytes"
	"regexp"
	"sync"
)

// lineWatch closes found at the first whole line that matches. Its Write is called by one goroutine at a time.
type lineWatch struct {
	pattern *regexp.Regexp
	rest    []byte
	once    sync.Once
	found   chan struct{}
}

func newLineWatch(pattern *regexp.Regexp) *lineWatch {
	return &lineWatch{pattern: pattern, found: make(chan struct{})}
}

func (w *lineWatch) Write(p []byte) (int, error) {
	select {
	case <-w.found:
		return len(p), nil
	default:
	}
	w.rest = append(w.rest, p...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		if w.pattern.Match(line) {
			w.once.Do(func() { close(w.found) })
			w.rest = nil
			return len(p), nil
		}
		w.rest = rest
	}
}
