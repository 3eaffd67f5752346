package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// getCounters writes a [Counters], a client a line: a million of them are never one text in memory.
func (s *Server) getCounters(w http.ResponseWriter, r *http.Request) {
	counted, err := s.options.Dataplane.Counters()
	if err != nil {
		s.refuse(w, r, fmt.Errorf("reading the counters: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = s.writeCounters(w, counted) // fails only when the client has left
}

// countersHead is the first line of the counters. Each client has its own, and the rest is one.
const countersHead = `{"clients":[`

func (s *Server) writeCounters(w io.Writer, counted demux.Counters) error {
	rest, err := json.Marshal(totals(counted))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.WriteString(countersHead) // Flush reports it
	row := clientRow{names: s.options.Names, workers: map[string]string{}, locations: map[demux.Location]string{}}
	for i, c := range counted.Clients {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		if _, err := out.Write(row.encode(c)); err != nil {
			return err
		}
	}
	_, _ = out.Write(append([]byte("\n"), rest[len(countersHead):]...))
	return out.Flush()
}

// clientRow writes a [ClientCounters] as encoding/json does, which takes microseconds for each. Workers and
// locations are few: it remembers their JSON.
type clientRow struct {
	names     Names
	workers   map[string]string
	locations map[demux.Location]string // as a member of the object
	line      []byte
}

// encode returns the line, which the next call overwrites.
func (r *clientRow) encode(c demux.ClientCounters) []byte {
	worker, known := r.workers[c.Worker]
	if !known {
		text, _ := json.Marshal(c.Worker) // of a string: there is no error
		worker = string(text)
		r.workers[c.Worker] = worker
	}
	at, known := r.locations[c.Location]
	if !known && !c.Location.IsZero() {
		text, _ := json.Marshal(location(r.names, c.Location)) // of strings and numbers: there is no error
		at = `,"location":` + string(text)
		r.locations[c.Location] = at
	}
	tally := func(name string, t demux.Tally) {
		r.line = append(append(r.line, name...), `{"packets":`...)
		r.line = append(strconv.AppendUint(r.line, t.Packets, 10), `,"bytes":`...)
		r.line = append(strconv.AppendUint(r.line, t.Bytes, 10), '}')
	}
	r.line = append(r.line[:0], "\n{\"mac\":\""...)
	r.line, _ = c.MAC.AppendText(r.line) // there is no error
	r.line = append(append(r.line, `","worker":`...), worker...)
	tally(`,"rx":`, c.Rx)
	tally(`,"tx":`, c.Tx)
	r.line = append(append(r.line, at...), '}')
	return r.line
}

// totals are all counters but the clients'.
func totals(from demux.Counters) Counters {
	to := Counters{
		Clients: []ClientCounters{}, Workers: append([]WorkerCounters{}, from.Workers...), Drops: make([]DropCounter, 0, len(from.Drops)),
		Passed: from.Passed, UnknownPassed: from.UnknownPassed, UnknownForwarded: from.UnknownForwarded,
		EventsLost: from.EventsLost, PlacesLost: from.PlacesLost,
	}
	for _, d := range from.Drops {
		to.Drops = append(to.Drops, DropCounter{Reason: d.Reason.String(), Tally: d.Tally})
	}
	return to
}
