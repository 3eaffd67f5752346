package control

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// maxBulk bounds the body of a request about many assignments, in bytes: far above a full table.
const maxBulk = 256 << 20

// Difference is what has to change, or has changed, so that the assignments are those wanted.
type Difference struct {
	// Assigned are new.
	Assigned []demux.Assignment `json:"assigned"`
	// Reassigned have another worker than before.
	Reassigned []Reassignment `json:"reassigned"`
	// Unassigned are gone. Empty unless pruning was asked for.
	Unassigned []demux.Assignment `json:"unassigned"`
}

// Empty reports whether nothing differs.
func (d Difference) Empty() bool { return len(d.Assigned)+len(d.Reassigned)+len(d.Unassigned) == 0 }

// Reassignment is a MAC that changes its worker.
type Reassignment struct {
	MAC  demux.MAC `json:"mac"`
	From string    `json:"from"`
	To   string    `json:"to"`
}

// change is a Difference as the dataplane takes it.
type change struct {
	fresh, moved, back []demux.Assignment
	gone               []demux.Assignment
}

// compare finds what it takes to have every assignment wanted and, with prune, no other.
func compare(now, wanted []demux.Assignment, prune bool) change {
	former := make(map[demux.MAC]string, len(now))
	for _, a := range now {
		former[a.MAC] = a.Worker
	}
	var c change
	for _, a := range wanted {
		switch worker, assigned := former[a.MAC]; {
		case !assigned:
			c.fresh = append(c.fresh, a)
		case worker != a.Worker:
			c.moved = append(c.moved, a)
			c.back = append(c.back, demux.Assignment{MAC: a.MAC, Worker: worker})
		}
		delete(former, a.MAC)
	}
	for _, a := range now {
		if _, left := former[a.MAC]; prune && left {
			c.gone = append(c.gone, a)
		}
	}
	return c
}

// do makes the change: all of it or, with an error, none. What is gone goes last, since its counters
// cannot come back; only where the table has no room before does it go first.
func (c change) do(plane Dataplane, assigned int) error {
	first, last := c.unassign, func(Dataplane) error { return nil }
	if assigned+len(c.fresh) <= plane.Capacity() {
		first, last = last, first
	} else if assigned+len(c.fresh)-len(c.gone) > plane.Capacity() {
		return &demux.FullError{Capacity: plane.Capacity()}
	}
	if len(c.moved) > 0 {
		if err := plane.ReassignAll(c.moved); err != nil {
			return err
		}
	}
	err := first(plane)
	if err == nil && len(c.fresh) > 0 {
		err = plane.AssignAll(c.fresh)
		if err != nil && assigned+len(c.fresh) > plane.Capacity() {
			err = errors.Join(err, plane.AssignAll(c.gone))
		}
	}
	switch {
	case err == nil:
		return last(plane)
	case len(c.back) > 0:
		return errors.Join(err, plane.ReassignAll(c.back))
	}
	return err
}

func (c change) unassign(plane Dataplane) error {
	if len(c.gone) == 0 {
		return nil
	}
	macs := make([]demux.MAC, 0, len(c.gone))
	for _, a := range c.gone {
		macs = append(macs, a.MAC)
	}
	return plane.UnassignAll(macs)
}

func (c change) difference() Difference {
	some := func(list []demux.Assignment) []demux.Assignment { return append([]demux.Assignment{}, list...) } // in JSON [], not null
	d := Difference{Assigned: some(c.fresh), Reassigned: make([]Reassignment, 0, len(c.moved)), Unassigned: some(c.gone)}
	for i, a := range c.moved {
		d.Reassigned = append(d.Reassigned, Reassignment{MAC: a.MAC, From: c.back[i].Worker, To: a.Worker})
	}
	return d
}

// putAssignments makes the assignments those of the body, which may be an answer to GET /v1/assignments.
func (s *Server) putAssignments(w http.ResponseWriter, r *http.Request) (any, error) {
	wanted, err := decodeAssignments(w, r)
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
	now, err := s.options.Dataplane.Assignments()
	if err != nil {
		return nil, fmt.Errorf("reading the assignments: %w", err)
	}
	change := compare(now, wanted, prune)
	if !dryRun {
		if err := change.do(s.options.Dataplane, len(now)); err != nil {
			return nil, err
		}
	}
	return change.difference(), nil
}

// postAssignments makes new assignments: all of them, or none.
func (s *Server) postAssignments(w http.ResponseWriter, r *http.Request) (any, error) {
	wanted, err := decodeAssignments(w, r)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	return nil, s.options.Dataplane.AssignAll(wanted)
}

func decodeAssignments(w http.ResponseWriter, r *http.Request) ([]demux.Assignment, error) {
	var body assignments
	if err := decode(w, r, maxBulk, &body); err != nil {
		return nil, err
	}
	if body.Assignments == nil {
		return nil, fmt.Errorf("%w: the body has no list of assignments", ErrBadRequest)
	}
	list := make([]demux.Assignment, 0, len(body.Assignments))
	seen := make(map[demux.MAC]bool, len(body.Assignments))
	for _, a := range body.Assignments {
		if err := a.MAC.Validate(); err != nil {
			return nil, err
		}
		switch {
		case seen[a.MAC]:
			return nil, fmt.Errorf("%w: %s is there twice", ErrBadRequest, a.MAC)
		case a.Worker == "":
			return nil, fmt.Errorf("%w: %s has no worker", ErrBadRequest, a.MAC)
		}
		seen[a.MAC] = true
		list = append(list, a.Assignment)
	}
	return list, nil
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
