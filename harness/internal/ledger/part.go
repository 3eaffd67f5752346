package ledger

import "slices"

// checkPart checks that what left a part is what it had to do with what came in.
func (a *audit) checkPart(f *frame, p part) {
	a.collect(f, p)
	if len(a.ins) == 0 && len(a.outs) == 0 && f.origin < 0 {
		return
	}
	for i := range a.outs {
		r := &a.outs[i]
		a.row(r.side, r.length, r.tags).got++
	}
	a.checkHeld(f, p)
	// What a batch injected behind the part is no work of the part.
	for i := f.origin; i >= 0; i = a.table.origins[i].next {
		o := &a.table.origins[i]
		if a.plan.of(o.side).role.part() == p {
			a.row(o.side, o.length, o.tags).want++
		}
	}
	a.alternatives.reset()
	a.choices = a.choices[:0]
	for i := range a.ins {
		first := len(a.alternatives.outcomes)
		if p == theSwitch {
			a.refSwitch.handle(f, &a.ins[i])
		} else {
			a.refDemux.handle(f, &a.ins[i])
		}
		a.choices = append(a.choices, choice{first: first, end: len(a.alternatives.outcomes)})
	}
	// What is certain first: the rest is free to explain what is left then.
	for i := range a.choices {
		if c := &a.choices[i]; c.end == c.first+1 {
			a.choose(c)
		}
	}
	for i := range a.choices {
		if c := &a.choices[i]; c.end > c.first+1 {
			a.choose(c)
		}
	}
	for i := range a.choices {
		a.conclude(f, &a.ins[i], p, &a.choices[i])
	}
}

// choice is which of several outcomes a part chose for a frame that came in.
type choice struct {
	first, end int // the outcomes, in the alternatives
	outcome    *outcome
	tied       bool // another would explain as much
}

// choose picks what the part did with a frame: of what it may have done, that which
// explains most of what was seen. If nothing explains anything, the first is demanded.
func (a *audit) choose(c *choice) {
	best, most := -1, -1
	for i := c.first; i < c.end; i++ {
		explained, ok := a.explains(&a.alternatives.outcomes[i])
		switch {
		case ok && explained > most:
			best, most, c.tied = i, explained, false
		case ok && explained == most:
			c.tied = true
		}
	}
	c.outcome = &a.alternatives.outcomes[max(best, c.first)]
	for i := range c.outcome.want {
		a.rowOf(&c.outcome.want[i]).want++
	}
}

// conclude draws the consequences of a choice.
func (a *audit) conclude(f *frame, in *pass, p part, c *choice) {
	o := c.outcome
	copies := len(o.want)
	for i := range o.may {
		if r := a.find(&o.may[i]); r != nil && r.got > r.want {
			r.want++
			copies++
		}
	}
	if o.entry.counter != 0 {
		if c.tied && len(o.want) == 0 {
			a.counters.either(o.entry, a.others(c))
		} else {
			a.counters.add(o.entry)
		}
	}
	if o.also.counter != 0 {
		a.counters.add(o.also)
	}
	if p == theSwitch {
		a.cost(f, in, o)
	}
	if n := (note{p, o.why}); o.why != "" && !slices.Contains(a.notes, n) {
		a.notes = append(a.notes, n)
	}
	a.verdict.of(p).count(o, copies)
}

// others are the outcomes besides the chosen one that leave nowhere either.
func (a *audit) others(c *choice) []outcome {
	var others []outcome
	for _, o := range a.alternatives.outcomes[c.first:c.end] {
		if len(o.want) == 0 && o.entry.counter != c.outcome.entry.counter {
			others = append(others, o)
		}
	}
	return others
}

// explains tells whether everything an outcome wants was seen and not yet
// explained, and how many sightings it would explain.
func (a *audit) explains(o *outcome) (sightings int, ok bool) {
	for i := range o.want {
		r := a.find(&o.want[i])
		if r == nil || r.got <= r.want {
			return 0, false
		}
	}
	sightings = len(o.want)
	for i := range o.may {
		if r := a.find(&o.may[i]); r != nil && r.got > r.want {
			sightings++
		}
	}
	return sightings, true
}

// find is the row of an emission which has something left to explain, or any.
func (a *audit) find(e *emission) *row {
	var found *row
	for i := range a.rows {
		r := &a.rows[i]
		if !e.matches(r.side, r.length, r.tags) {
			continue
		}
		if r.got > r.want {
			return r
		}
		if found == nil {
			found = r
		}
	}
	return found
}

// rowOf is find, or a new row.
func (a *audit) rowOf(e *emission) *row {
	if r := a.find(e); r != nil {
		return r
	}
	a.rows = append(a.rows, row{emission: *e})
	return &a.rows[len(a.rows)-1]
}

// emission is one frame that leaves a part.
type emission struct {
	side   side
	tags   stack
	length uint16
}

// matches tells whether a sighting is what the emission must look like.
func (e *emission) matches(s side, length uint16, tags stack) bool {
	return e.side == s && e.length == length && e.tags == tags
}

// entry is what an outcome adds to one counter.
type entry struct {
	counter counter // none for the switch
	frames  uint64
	octets  uint64
	or      counter // it may have been this one instead; none if it cannot
}

// outcome is one thing that a part may do with a frame that came in.
type outcome struct {
	want  []emission // each must be seen
	may   []emission // each may be seen: ports in the middle of a move
	entry entry
	also  entry  // the copies of a flood that were dropped, beside those that were not
	why   string // of a frame that leaves nowhere
}

// alternatives holds the outcomes of one frame until the next.
type alternatives struct {
	outcomes  []outcome
	emissions []emission
}

func (a *alternatives) reset() {
	a.outcomes, a.emissions = a.outcomes[:0], a.emissions[:0]
}

func (a *alternatives) one(e emission) []emission {
	a.emissions = append(a.emissions, e)
	n := len(a.emissions)
	return a.emissions[n-1 : n : n]
}

// mark and since make a list of the emissions in between.
func (a *alternatives) mark() int       { return len(a.emissions) }
func (a *alternatives) emit(e emission) { a.emissions = append(a.emissions, e) }
func (a *alternatives) since(m int) []emission {
	return a.emissions[m:len(a.emissions):len(a.emissions)]
}

func (a *alternatives) add(o outcome) { a.outcomes = append(a.outcomes, o) }

// pass is a frame that came into a part.
type pass struct {
	record
	// The part handled it at some moment from time to over; learned from it by
	// learnedBy at the latest.
	learnedBy, doneBy int64
}
