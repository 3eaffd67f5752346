package ledger

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
