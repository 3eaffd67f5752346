package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/harness"
)

// ladder is a window's frames on their ways between client, switch, demux and worker.
type ladder struct {
	Rows []ladderRow
}

// ladderRow is all frames of one path.
type ladderRow struct {
	Frames         int
	Wrong          bool
	First          int64
	Client, Worker string     // names of those that the frames left or reached
	Cells          [6][]arrow // by tap: client, access port, switch's trunk, host's trunk, worker's port, worker
	Switch, Demux  []string   // what ended there, and why
}

// arrow is what crossed a tap in one direction.
type arrow struct {
	Right  bool // from clients to workers
	Into   bool // into the node at the arrow's end: it has a head there
	Out    bool // as the tap gives the direction
	Fault  string
	Count  string
	Tags   string
	Detail string
	mean   time.Duration
}

// columns are the kinds of taps in the order of the cells.
func columns() []string {
	return []string{"client", "access port", "switch's trunk", "host's trunk", "worker's port", "worker"}
}

// Columns are the names of the cells.
func (*ladder) Columns() []string { return columns() }

func newLadder(v *harness.Verdict) *ladder {
	l := &ladder{}
	for i := range v.Paths {
		p := &v.Paths[i]
		row := ladderRow{Frames: p.Frames, Wrong: p.Wrong, First: p.First}
		var clients, workers []string
		for j := range p.Hops {
			h := &p.Hops[j]
			out := h.Direction.String() == "out"
			at := slices.Index(columns(), h.Kind)
			switch at {
			case -1: // the host's stack
				row.Demux = append(row.Demux, fmt.Sprintf("%s left to the host's stack", count(h.Got)))
				continue
			case 0:
				clients = append(clients, nodes(h.Taps, h.MoreTaps)...)
			case 5:
				workers = append(workers, nodes(h.Taps, h.MoreTaps)...)
			}
			a := arrow{Right: out == (at%2 == 0), Into: !out, Out: out, Count: count(h.Got) + "×", Tags: tags(h.Tags, h.MoreTags), mean: h.Mean}
			switch {
			case h.Got < h.Want:
				a.Fault, a.Count = "missing", fmt.Sprintf("%s of %s×", count(h.Got), count(h.Want))
			case h.Got > h.Want:
				a.Fault, a.Count = "too many", fmt.Sprintf("%s×, want %s", count(h.Got), count(h.Want))
			}
			if h.Got > 0 {
				a.Detail = octets(h.Shortest, h.Longest)
				if h.Mean > 0 {
					a.Detail += " · +" + after(h.Mean)
				}
			}
			row.Cells[at] = append(row.Cells[at], a)
		}
		for _, cell := range row.Cells {
			slices.SortStableFunc(cell, func(a, b arrow) int { return cmp.Compare(a.mean, b.mean) })
		}
		row.Client, row.Worker = names(clients), names(workers)
		for _, end := range p.Ends {
			part, why, _ := strings.Cut(end, ": ")
			if part == "switch" {
				row.Switch = append(row.Switch, why)
			} else {
				row.Demux = append(row.Demux, why)
			}
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}

// nodes are the names in front of the taps' interfaces.
func nodes(taps []string, more bool) []string {
	var names []string
	for _, tap := range taps {
		name, _, _ := strings.Cut(tap, "/")
		names = append(names, name)
	}
	if more {
		names = append(names, "…")
	}
	return names
}

// names lists each once, "…" last.
func names(all []string) string {
	more := slices.Contains(all, "…")
	all = slices.DeleteFunc(all, func(s string) bool { return s == "…" })
	slices.Sort(all)
	return list(slices.Compact(all), more)
}

// mostStacks is how many different stacks of tags an arrow names, mostTags how many tags of each.
const mostStacks, mostTags = 4, 2

// tags are those of a hop in fewer words: "802.1Q 7" for "802.1Q vid 7".
func tags(all []string, more bool) string {
	var stacks []string
	for _, stack := range all {
		tags := strings.Split(strings.ReplaceAll(stack, " vid ", " "), " + ")
		if inner := len(tags) - mostTags; inner > 0 {
			tags = append(tags[:mostTags], fmt.Sprintf("%d more", inner))
		}
		stacks = append(stacks, strings.Join(tags, " + "))
	}
	stacks = slices.Compact(stacks)
	return list(stacks[:min(len(stacks), mostStacks)], more || len(stacks) > mostStacks)
}

func list(texts []string, more bool) string {
	text := strings.Join(texts, ", ")
	if more {
		text += " …"
	}
	return text
}

func octets(shortest, longest uint16) string {
	if shortest == longest {
		return fmt.Sprintf("%d o", shortest)
	}
	return fmt.Sprintf("%d–%d o", shortest, longest)
}
