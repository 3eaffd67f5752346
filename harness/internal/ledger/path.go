package ledger

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// Path is all frames of a window that took the same way: seen at the same taps, or,
// where there are too many different ways, at the same kinds of taps.
type Path struct {
	// Frames is how many different frames, identical ones counted once.
	Frames int
	// Wrong says that they are wrong, each of them.
	Wrong bool
	// Hops are in the order from clients to workers, whichever way the frames went.
	Hops []Hop
	// Ends are why frames ended where, such as "demux: unknown_client".
	Ends []string
	// First is when the first was seen, in nanoseconds since 1970, 0 if none was.
	First int64

	notes []note
}

// Hop is one kind of tap that the frames of a path crossed in one direction.
type Hop struct {
	// Kind is one of "client", "access port", "switch's trunk", "host's trunk", "worker's port", "worker" and "host's stack".
	Kind string
	// Direction as the taps give it: what a client sends goes out at "client" and in at "access port".
	Direction probe.Direction
	// Taps, and the tags that the frames carried there: the first few. MoreTaps and MoreTags say that there are others.
	Taps, Tags         []string
	MoreTaps, MoreTags bool
	// Want is how often the frames had to be seen, if the taps before were right, and Got how often they were.
	Want, Got int
	// Shortest and Longest frame in octets, as at these taps.
	Shortest, Longest uint16
	// Mean and Most time since a frame was first seen anywhere.
	Mean, Most time.Duration

	role  role
	tags  []stack
	total time.Duration
}

// mostPaths is how many are told apart by their taps. If there are more, all are told
// apart by the kinds of their taps. named is how many taps and tags of a hop are named.
const (
	mostPaths = 24
	named     = 6
)

type paths struct {
	groups map[string]*Path
	kinds  bool // frames are told apart by the kinds of their taps
	key    []byte
	spots  []spot
}

// spot is what a key says of a tap or a kind of tap in one direction.
type spot struct {
	at        uint16
	want, got int
}

func (k role) String() string {
	return [...]string{"client", "access port", "switch's trunk", "host's trunk", "worker's port", "worker", "host's stack"}[k]
}

// add puts a frame that has been checked into its group. An audit's rows and notes are its.
func (p *paths) add(a *audit, f *frame, wrong bool) {
	if p.groups == nil {
		p.groups = map[string]*Path{}
	}
	key := p.keyOf(a, wrong)
	group := p.groups[string(key)]
	if group == nil {
		if !p.kinds && len(p.groups) == mostPaths {
			p.merge()
			p.add(a, f, wrong)
			return
		}
		group = &Path{Wrong: wrong, notes: slices.Clone(a.notes)}
		p.groups[string(key)] = group
	}
	group.Frames++
	for i := range a.rows {
		r := &a.rows[i]
		h := group.hop(a.plan.of(r.side).role, r.side.direction())
		h.Want += r.want
		if h.Got == 0 && r.got == 0 {
			h.addTap(a.plan.of(r.side).name)
		}
	}
	seen := a.table.sightings(f)
	for i := range seen {
		r := &seen[i]
		if i == 0 && (group.First == 0 || r.time < group.First) {
			group.First = r.time
		}
		h := group.hop(a.plan.of(r.side).role, r.side.direction())
		h.add(a.plan.of(r.side).name, r, time.Duration(r.time-seen[0].time))
	}
}

// keyOf is the same for frames of one group.
func (p *paths) keyOf(a *audit, wrong bool) []byte {
	p.spots = p.spots[:0]
	for i := range a.rows {
		r := &a.rows[i]
		at := uint16(r.side)
		if p.kinds {
			at = uint16(sideOf(int(a.plan.of(r.side).role), r.side.direction()))
		}
		j, there := slices.BinarySearchFunc(p.spots, at, func(s spot, at uint16) int { return cmp.Compare(s.at, at) })
		if !there {
			p.spots = slices.Insert(p.spots, j, spot{at: at})
		}
		p.spots[j].want += r.want
		p.spots[j].got += r.got
	}
	return p.pack(a.notes, wrong)
}

// pack makes a key of the spots and the rest.
func (p *paths) pack(notes []note, wrong bool) []byte {
	p.key = p.key[:0]
	for _, s := range p.spots {
		p.key = append(binary.BigEndian.AppendUint16(p.key, s.at), byte(1+cmp.Compare(s.got, s.want)))
	}
	for _, n := range notes {
		p.key = append(append(p.key, byte(n.part)), n.why...)
	}
	if wrong {
		p.key = append(p.key, '!')
	}
	return p.key
}

// merge tells the groups apart by the kinds of their taps from now on.
func (p *paths) merge() {
	groups := p.groups
	p.groups, p.kinds = map[string]*Path{}, true
	for _, g := range groups {
		g.order()
		p.spots = p.spots[:0]
		for i := range g.Hops {
			h := &g.Hops[i]
			p.spots = append(p.spots, spot{at: uint16(sideOf(int(h.role), h.Direction)), want: h.Want, got: h.Got})
		}
		key := p.pack(g.notes, g.Wrong)
		if into := p.groups[string(key)]; into != nil {
			into.merge(g)
		} else {
			p.groups[string(key)] = g
		}
	}
}

func (g *Path) merge(x *Path) {
	g.Frames += x.Frames
	if x.First != 0 && (g.First == 0 || x.First < g.First) {
		g.First = x.First
	}
	for i := range x.Hops {
		from, h := &x.Hops[i], g.hop(x.Hops[i].role, x.Hops[i].Direction)
		h.Want, h.total, h.Most = h.Want+from.Want, h.total+from.total, max(h.Most, from.Most)
		if from.Got > 0 {
			h.sized(from.Shortest)
			h.sized(from.Longest)
		}
		h.Got += from.Got
		for _, tap := range from.Taps {
			h.addTap(tap)
		}
		for _, tags := range from.tags {
			h.addTags(tags)
		}
		h.MoreTaps, h.MoreTags = h.MoreTaps || from.MoreTaps, h.MoreTags || from.MoreTags
	}
}

func (g *Path) hop(k role, d probe.Direction) *Hop {
	for i := range g.Hops {
		if h := &g.Hops[i]; h.role == k && h.Direction == d {
			return h
		}
	}
	g.Hops = append(g.Hops, Hop{Kind: k.String(), Direction: d, role: k})
	return &g.Hops[len(g.Hops)-1]
}

func (h *Hop) add(tap string, r *record, after time.Duration) {
	h.addTap(tap)
	h.addTags(r.tags)
	h.sized(r.length)
	h.Got++
	h.total += after
	h.Most = max(h.Most, after)
}

func (h *Hop) addTap(name string) {
	switch {
	case slices.Contains(h.Taps, name):
	case len(h.Taps) < named:
		h.Taps = append(h.Taps, name)
	default:
		h.MoreTaps = true
	}
}

func (h *Hop) addTags(s stack) {
	switch {
	case slices.Contains(h.tags, s):
	case len(h.tags) < named:
		h.tags = append(h.tags, s)
	default:
		h.MoreTags = true
	}
}

// sized is to be called before Got counts the frame.
func (h *Hop) sized(octets uint16) {
	if h.Got == 0 && h.Longest == 0 {
		h.Shortest = octets
	}
	h.Shortest, h.Longest = min(h.Shortest, octets), max(h.Longest, octets)
}

func (g *Path) order() {
	slices.SortFunc(g.Hops, func(x, y Hop) int { return cmp.Or(cmp.Compare(x.role, y.role), cmp.Compare(x.Direction, y.Direction)) })
}

// list is what the groups have become, wrong ones first, then by time.
func (p *paths) list() []Path {
	list := make([]Path, 0, len(p.groups))
	for _, g := range p.groups {
		g.order()
		for i := range g.Hops {
			h := &g.Hops[i]
			h.Mean = h.total / time.Duration(max(1, h.Got))
			for _, tags := range h.tags {
				h.Tags = append(h.Tags, tags.String())
			}
		}
		for _, n := range g.notes {
			g.Ends = append(g.Ends, n.String())
		}
		list = append(list, *g)
	}
	slices.SortFunc(list, func(x, y Path) int {
		if x.Wrong != y.Wrong {
			return map[bool]int{true: -1, false: 1}[x.Wrong]
		}
		return cmp.Or(cmp.Compare(x.First, y.First), cmp.Compare(y.Frames, x.Frames))
	})
	return list
}
