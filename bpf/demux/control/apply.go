package control

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// Difference is what has to change, or has changed, so that the assignments are those wanted.
type Difference struct {
	// Assigned are new.
	Assigned []demux.Assignment `json:"assigned"`
	// Reassigned have another worker than before, or may be at other places.
	Reassigned []Reassignment `json:"reassigned"`
	// Unassigned are gone. Empty unless pruning was asked for.
	Unassigned []demux.Assignment `json:"unassigned"`
}

// Reassignment is a MAC that changes its worker, or the places where it may be.
type Reassignment struct {
	MAC  demux.MAC `json:"mac"`
	From string    `json:"from"`
	To   string    `json:"to"`
	// Places are where it may be now; none: anywhere.
	Places []demux.Place `json:"places,omitempty"`
}

// Change is a [Difference] as the dataplane takes it.
type Change struct {
	Fresh, Moved []demux.Assignment
	Back         []demux.Assignment // what those moved had before
	Gone         []demux.Assignment
}

// Compare finds what it takes to have every assignment wanted and, with prune, no other. Both lists are
// by MAC, with canonical places.
func Compare(now, wanted []demux.Assignment, prune bool) Change {
	var c Change
	for _, a := range wanted {
		for len(now) > 0 && now[0].MAC.Compare(a.MAC) < 0 {
			c.gone(now[:1], prune)
			now = now[1:]
		}
		if len(now) == 0 || now[0].MAC != a.MAC {
			c.Fresh = append(c.Fresh, a)
			continue
		}
		if now[0].Worker != a.Worker || !slices.Equal(now[0].Places, a.Places) {
			c.Moved = append(c.Moved, a)
			c.Back = append(c.Back, now[0])
		}
		now = now[1:]
	}
	c.gone(now, prune)
	return c
}

func (c *Change) gone(left []demux.Assignment, prune bool) {
	if prune {
		c.Gone = append(c.Gone, left...)
	}
}

// Do makes the change: all of it or, with an error, none. What is gone goes last, since its counters
// cannot come back; only where the table has no room before does it go first.
func (c Change) Do(plane Dataplane) error {
	assigned := plane.Assigned()
	first, last := c.unassign, func(Dataplane) error { return nil }
	if assigned+len(c.Fresh) <= plane.Options().Capacity {
		first, last = last, first
	} else if assigned+len(c.Fresh)-len(c.Gone) > plane.Options().Capacity {
		return fmt.Errorf("%w: %d assignments are more than its capacity of %d: unassign clients, or load with a larger capacity", demux.ErrFull, assigned+len(c.Fresh)-len(c.Gone), plane.Options().Capacity)
	}
	if len(c.Moved) > 0 {
		if err := plane.ReassignAll(c.Moved); err != nil {
			return err
		}
	}
	err := first(plane)
	if err == nil && len(c.Fresh) > 0 {
		err = plane.AssignAll(c.Fresh)
		if err != nil && assigned+len(c.Fresh) > plane.Options().Capacity {
			err = errors.Join(err, plane.AssignAll(c.Gone))
		}
	}
	switch {
	case err == nil:
		return last(plane)
	case len(c.Back) > 0:
		return errors.Join(err, plane.ReassignAll(c.Back))
	}
	return err
}

// Reverse takes the change back.
func (c Change) Reverse() Change {
	return Change{Fresh: c.Gone, Moved: c.Back, Back: c.Moved, Gone: c.Fresh}
}

func (c Change) unassign(plane Dataplane) error {
	if len(c.Gone) == 0 {
		return nil
	}
	return plane.UnassignAll(demux.MACs(c.Gone))
}

func (c Change) difference() Difference {
	some := func(list []demux.Assignment) []demux.Assignment { return append([]demux.Assignment{}, list...) } // in JSON [], not null
	d := Difference{Assigned: some(c.Fresh), Reassigned: make([]Reassignment, 0, len(c.Moved)), Unassigned: some(c.Gone)}
	for i, a := range c.Moved {
		d.Reassigned = append(d.Reassigned, Reassignment{MAC: a.MAC, From: c.Back[i].Worker, To: a.Worker, Places: a.Places})
	}
	return d
}

// putAssignments makes the assignments those of the body, which may be an answer to GET /v1/assignments.
func (s *Server) putAssignments(w http.ResponseWriter, r *http.Request) (any, error) {
	wanted, err := s.decodeAssignments(w, r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	prune, pruneErr := parseFlag(query, "prune")
	dryRun, dryErr := parseFlag(query, "dry_run")
	if err := errors.Join(pruneErr, dryErr); err != nil {
		return nil, err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	var now []demux.Assignment
	if prune {
		now, err = s.options.Dataplane.Assignments()
	} else {
		now, err = s.options.Dataplane.Find(demux.MACs(wanted)) // the others do not matter
	}
	if err != nil {
		return nil, fmt.Errorf("reading the assignments: %w", err)
	}
	change := Compare(now, wanted, prune)
	if !dryRun {
		if err := change.Do(s.options.Dataplane); err != nil {
			return nil, err
		}
		s.warnOfWorkers(slices.Concat(change.Fresh, change.Moved))
	}
	return change.difference(), nil
}

// postAssignments makes those of the body, all of them or none.
func (s *Server) postAssignments(w http.ResponseWriter, r *http.Request) (any, error) {
	wanted, err := s.decodeAssignments(w, r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	reassign, reassignErr := parseFlag(query, "reassign")
	force, forceErr := parseFlag(query, "force")
	if err := errors.Join(reassignErr, forceErr); err != nil || len(wanted) == 0 {
		return nil, err
	}
	for i := range wanted {
		wanted[i].Force = force
	}
	return nil, s.assign(wanted, reassign)
}

// assign makes new assignments, or gives clients that have workers other ones: all of them, or none.
func (s *Server) assign(wanted []demux.Assignment, reassign bool) error {
	change := s.options.Dataplane.AssignAll
	if reassign {
		change = s.options.Dataplane.ReassignAll
	}
	if err := change(wanted); err != nil {
		return err
	}
	s.warnOfWorkers(wanted)
	return nil
}

// decodeAssignments returns them by MAC.
func (s *Server) decodeAssignments(w http.ResponseWriter, r *http.Request) ([]demux.Assignment, error) {
	var body struct {
		Assignments onceListed `json:"assignments"`
	}
	if err := s.decode(w, r, s.options.Dataplane.Options().Capacity, &body); err != nil {
		return nil, err
	}
	if body.Assignments == nil {
		return nil, fmt.Errorf("%w: the body has no list of assignments", ErrBadRequest)
	}
	list := make([]demux.Assignment, 0, len(body.Assignments))
	for _, a := range body.Assignments {
		if err := a.MAC.Validate(); err != nil {
			return nil, err
		}
		if a.Worker == "" {
			return nil, fmt.Errorf("%w: %s has no worker", ErrBadRequest, a.MAC)
		}
		var err error
		if a.Places, err = demux.CanonicalPlaces(a.Places); err != nil {
			return nil, fmt.Errorf("assigning %s: %w", a.MAC, err)
		}
		list = append(list, a.Assignment)
	}
	if mac, found := demux.Twice(list); found {
		return nil, fmt.Errorf("%w: %s is there twice", ErrBadRequest, mac)
	}
	demux.SortAssignments(list)
	return list, nil
}

// onceListed is a list that is there once: encoding/json takes what an entry of a second list does not say from the first.
type onceListed []Assignment

// UnmarshalJSON implements [json.Unmarshaler].
func (l *onceListed) UnmarshalJSON(text []byte) error {
	if *l != nil {
		return errors.New("there are two lists of assignments")
	}
	return strictDecoder(bytes.NewReader(text)).Decode((*[]Assignment)(l))
}

// parseFlag reads a query parameter that is true, false or not there.
func parseFlag(query url.Values, name string) (bool, error) {
	if !query.Has(name) {
		return false, nil
	}
	value, err := strconv.ParseBool(query.Get(name))
	if err != nil {
		return false, fmt.Errorf("%w: %s=%q is neither true nor false", ErrBadRequest, name, query.Get(name))
	}
	return value, nil
}
