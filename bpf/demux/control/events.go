package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	merge, err := parseFlag(r.URL.Query(), "merge")
	switch {
	case err != nil:
		s.refuse(w, r, err)
	case merge:
		stream(s, w, r, s.merged.hub)
	default:
		stream(s, w, r, s.hub)
	}
}

func (s *Server) getDrops(w http.ResponseWriter, r *http.Request) {
	leave, err := s.drops.join()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer leave()
	stream(s, w, r, s.drops.hub)
}

// stream writes what is published, one JSON object a line, until the reader leaves or the hub lets go of it.
func stream[T any](s *Server, w http.ResponseWriter, r *http.Request, from *hub[T]) {
	controller := http.NewResponseController(w)
	subscriber, err := from.subscribe(func() {
		// A write that nobody reads would otherwise hold its connection for ever.
		_ = controller.SetWriteDeadline(time.Now().Add(writeGrace))
	})
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer from.unsubscribe(subscriber)
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	encode := func(line any) error {
		if err := encoder.Encode(line); err != nil {
			return err
		}
		if len(subscriber.events) > 0 {
			return nil // more to come at once: one write for all
		}
		return controller.Flush()
	}
	if err := encode(streamLine{Type: lineReady}); err != nil {
		return
	}
	// The ready line must not wait for a burst of events to end.
	if err := controller.Flush(); err != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case e, open := <-subscriber.events:
			if !open {
				_ = encode(streamLine{Type: lineEnd, Error: ending(subscriber.ended)})
				_ = controller.Flush()
				return
			}
			if err := encode(e); err != nil {
				return
			}
		}
	}
}

// ending is the reason why a stream ends, for its last line.
func ending(reason error) *Error {
	if errors.Is(reason, ErrSlowReader) {
		reason = fmt.Errorf("%w: %d events were waiting to be read; connect again", reason, backlog)
	}
	answer, _ := classify(reason)
	return answer
}
