package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// suite is what is known of a suite from its events.
type suite struct {
	begun            time.Time
	rest             string // an event that has not been written in full yet
	specs, processes int
	finished, failed int
	last             map[string]time.Duration // of specs that have not ended
	running          map[string]time.Time     // since when
	preparing        string                   // what is waited for before the first spec
	kept             string                   // whose lab is held up for people, and until when
}

func newSuite(now time.Time) *suite {
	return &suite{begun: now, last: map[string]time.Duration{}, running: map[string]time.Time{}}
}

func (s *suite) read(events io.Reader) {
	data, _ := io.ReadAll(events) // what cannot be read is not shown
	lines := strings.Split(s.rest+string(data), "\n")
	for _, line := range lines[:len(lines)-1] {
		s.take(strings.Split(line, "\t"))
	}
	s.rest = lines[len(lines)-1] // last, since "run" forgets everything
}

// take takes an event. What is none changes nothing.
func (s *suite) take(event []string) {
	switch {
	case event[0] == "run" && len(event) == 3: // once more, with --repeat
		*s = *newSuite(s.begun)
		s.specs, _ = strconv.Atoi(event[1])
		s.processes, _ = strconv.Atoi(event[2])
	case event[0] == "last" && len(event) == 3:
		if seconds, err := strconv.ParseFloat(event[1], 64); err == nil {
			s.last[event[2]] = time.Duration(seconds * float64(time.Second))
		}
	case event[0] == "prepare" && len(event) == 2:
		s.preparing = ": " + event[1]
	case event[0] == "prepared":
		s.preparing = ""
	case event[0] == "start" && len(event) == 2:
		s.running[event[1]] = time.Now()
	case event[0] == "kept" && len(event) == 3:
		s.kept = fmt.Sprintf("waiting until %s, the lab is kept up: %s", event[1], event[2])
	case event[0] == "kept no more":
		s.kept = ""
	case event[0] == "end" && len(event) == 3:
		delete(s.running, event[2])
		delete(s.last, event[2])
		s.finished++
		if event[1] != "passed" {
			s.failed++
		}
	}
}

func (s *suite) ended() bool { return s.specs > 0 && s.finished >= s.specs }

func (s *suite) line(now time.Time, width int) string {
	if s.specs == 0 || s.preparing != "" {
		return cut(fmt.Sprintf("preparing for %s%s", now.Sub(s.begun).Round(time.Second), s.preparing), width)
	}
	line := fmt.Sprintf("%d of %d specs", s.finished, s.specs)
	if s.failed > 0 {
		line += fmt.Sprintf(", %d failed", s.failed)
	}
	if s.kept != "" {
		return cut(line+", "+s.kept, width)
	}
	if left, known := s.left(now); known {
		line += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	type run struct {
		spec  string
		since time.Time
	}
	var running []run
	for spec, since := range s.running {
		running = append(running, run{spec, since})
	}
	slices.SortFunc(running, func(a, b run) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.spec, b.spec)) })
	each := (width - len(line)) / max(1, len(running))
	for _, r := range running {
		took := fmt.Sprintf(" (%.0f s)", now.Sub(r.since).Seconds())
		line += " · " + cut(r.spec, each-len(took)-3) + took
	}
	return cut(line, width)
}

// left is how long the specs that have not ended will take, as long as they took last time. Of specs whose times are not known,
// each takes as long as the mean of the others. It is not known once all that run have taken longer.
func (s *suite) left(now time.Time) (time.Duration, bool) {
	if len(s.last) == 0 {
		return 0, false
	}
	var mean time.Duration
	for _, t := range s.last {
		mean += t / time.Duration(len(s.last))
	}
	sum := mean * time.Duration(s.specs-s.finished)
	for spec, since := range s.running {
		took, known := s.last[spec]
		if !known {
			took = mean
		}
		sum -= min(now.Sub(since), took)
	}
	return sum / time.Duration(max(1, s.processes)), sum > 0
}

func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:max(0, most-1)]) + "…"
	}
	return text
}
