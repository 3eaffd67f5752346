package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// getCounters writes client after client: a million of them are never one text in memory.
func (s *Server) getCounters(w http.ResponseWriter, r *http.Request) {
	counted, err := s.options.Dataplane.Counters()
	if err != nil {
		s.refuse(w, r, fmt.Errorf("reading the counters: %w", err))
		return
	}
	assigned, err := s.options.Dataplane.Assignments()
	if err != nil {
		s.refuse(w, r, fmt.Errorf("reading the locations: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = s.writeCounters(w, counted, assigned) // fails only when the client has left
}

// writeCounters writes a [Counters]. Locations come from the assignments, read at nearly the same time.
func (s *Server) writeCounters(w http.ResponseWriter, counted demux.Counters, assigned []demux.Assignment) error {
	rest, err := json.Marshal(totals(counted))
	if err != nil {
		return err
	}
	head, tail, _ := bytes.Cut(rest, []byte("]")) // {"clients":[ is first
	out := bufio.NewWriter(w)
	_, _ = out.Write(head) // Flush reports it
	for i, c := range counted.Clients {
		for len(assigned) > 0 && bytes.Compare(assigned[0].MAC[:], c.MAC[:]) < 0 { // both are by MAC
			assigned = assigned[1:]
		}
		client := ClientCounters{MAC: c.MAC, Worker: c.Worker, Rx: Tally(c.Rx), Tx: Tally(c.Tx)}
		if len(assigned) > 0 && assigned[0].MAC == c.MAC {
			client.Location = location(s.options.Names, assigned[0].Location)
		}
		text, err := json.Marshal(client)
		if err != nil {
			return err
		}
		if i > 0 {
			_ = out.WriteByte(',')
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	_ = out.WriteByte(']')
	_, _ = out.Write(tail)
	return out.Flush()
}

// totals are all counters but the clients'.
func totals(from demux.Counters) Counters {
	to := Counters{
		Clients:    []ClientCounters{},
		Workers:    make([]WorkerCounters, 0, len(from.Workers)),
		Drops:      make([]DropCounter, 0, len(from.Drops)),
		Passed:     Tally(from.Passed),
		EventsLost: from.EventsLost,
		PlacesLost: from.PlacesLost,
	}
	for _, w := range from.Workers {
		to.Workers = append(to.Workers, WorkerCounters{Worker: w.Worker, Flooded: Tally(w.Flooded)})
	}
	for _, d := range from.Drops {
		to.Drops = append(to.Drops, DropCounter{Reason: d.Reason.String(), Tally: Tally(d.Tally)})
	}
	return to
}
