package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Outcome is what became of a spec.
type Outcome struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
	// Seconds are its times when it passed, the latest first, at most five.
	Seconds []float64 `json:"seconds,omitempty"`
}

// History is what became of each spec in the last run that it was part of, by its name.
type History map[string]Outcome

const kept = 5

// ReadHistory reads a file that Write has written. A file that is not there, may not be read, or was cut off, is an empty history.
func ReadHistory(path string) (History, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return History{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the times of the last runs: %w", err)
	}
	h := History{}
	if !json.Valid(data) || json.Unmarshal(data, &h) != nil { // a run was killed while it wrote: nothing is known
		h = History{}
	}
	return h, nil
}

// Add takes over what a run found. What it skipped keeps what it had.
func (h History) Add(run *Run) {
	for i := range run.Specs {
		s := &run.Specs[i]
		if s.State == Skipped {
			continue
		}
		o := Outcome{State: s.State, At: s.Started, Seconds: h[s.Name()].Seconds}
		if s.State == Passed {
			o.Seconds = append([]float64{s.Took.Seconds()}, o.Seconds...)
			o.Seconds = o.Seconds[:min(len(o.Seconds), kept)]
		}
		h[s.Name()] = o
	}
}

// Write writes the history to a file.
func (h History) Write(path string) error {
	data, err := json.MarshalIndent(h, "", " ")
	if err == nil {
		err = replace(path, func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("keeping the times of this run for the next: %w", err)
	}
	return nil
}

// Took is how long a spec took when it passed last.
func (h History) Took(spec string) (time.Duration, bool) {
	if times := h[spec].Seconds; len(times) > 0 {
		return time.Duration(times[0] * float64(time.Second)), true
	}
	return 0, false
}

// Slower tells whether a spec took longer than in each of its last runs: by half, and by a second.
func (s *Spec) Slower() bool {
	if s.State != Passed || s.Last == nil || len(s.Last.Seconds) == 0 {
		return false
	}
	most := slices.Max(s.Last.Seconds)
	return s.Took.Seconds() > 1.5*most && s.Took.Seconds() > most+1
}

// New tells whether no run before had the spec.
func (s *Spec) New() bool { return s.Last == nil && s.State != Skipped }

// Broken tells whether a spec has failed that passed before, and Repaired the other way round.
func (s *Spec) Broken() bool { return s.State == Failed && s.Last != nil && s.Last.State == Passed }

// Repaired tells whether a spec has passed that failed before.
func (s *Spec) Repaired() bool {
	return s.State == Passed && s.Last != nil && s.Last.State == Failed
}

// StillFails tells whether a spec has failed as before.
func (s *Spec) StillFails() bool {
	return s.State == Failed && s.Last != nil && s.Last.State == Failed
}
