package ledger

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// table writes rows in aligned columns, two spaces apart and indented.
func table(w *strings.Builder, rows func(line func(cells ...any))) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(func(cells ...any) {
		fmt.Fprint(t, " ")
		for _, c := range cells {
			fmt.Fprintf(t, " %v\t", c)
		}
		fmt.Fprint(t, "\n")
	})
	_ = t.Flush() // a strings.Builder never fails
}

// trim takes the blanks off the end of every line.
func trim(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func (v *Verdict) summary() string {
	return fmt.Sprintf("%d frames (%d octets) sent by batches, %d different frames seen or sent, %d sightings at %d taps",
		v.Sent.Packets, v.Sent.Bytes, v.Frames, v.sightings(), len(v.Taps))
}

func (v *Verdict) sightings() (n uint64) {
	for _, t := range v.Taps {
		n += t.In.Packets + t.Out.Packets
	}
	return n
}

// Account is everything that is wrong, as Err tells it, with up to ten accounts of wrong frames; "" if nothing is.
func (v *Verdict) Account() string {
	if v.Inconclusive() || v.Err() == nil {
		return ""
	}
	return v.complaint(shownFrames) + "\n"
}

// Line is the verdict in one line.
func (v *Verdict) Line() string {
	switch {
	case v.Inconclusive():
		return "ledger: inconclusive"
	case v.Err() == nil:
		return "ledger: every frame, counter and location is right: " + v.summary()
	}
	return "ledger: " + v.Headline()
}

// String is the report of a verdict, whatever it is: totals first.
func (v *Verdict) String() string {
	var w strings.Builder
	switch {
	case len(v.Incomplete) > 0:
		w.WriteString("ledger: inconclusive\n")
	case v.Err() == nil:
		w.WriteString("ledger: every frame, counter and location is right\n")
	default:
		fmt.Fprintf(&w, "ledger: %s\n", v.Headline())
	}
	fmt.Fprintf(&w, "%s\n\n", v.summary())
	table(&w, func(line func(...any)) {
		line("TAP", "FRAMES IN", "OCTETS IN", "FRAMES OUT", "OCTETS OUT")
		for _, t := range v.Taps {
			line(t.Name, t.In.Packets, t.In.Bytes, t.Out.Packets, t.Out.Bytes)
		}
	})
	w.WriteString("\n")
	table(&w, func(line func(...any)) {
		line("PART", "FRAMES IN", "FORWARDED", "COPIES OUT", "ENDED")
		for _, p := range []struct {
			name  string
			total *PartTotal
		}{{"switch", &v.Switch}, {"demux", &v.Demux}} {
			line(p.name, p.total.In, p.total.Forwarded, p.total.Copies, p.total.ended())
		}
	})
	w.WriteString("\n")
	v.writeDelays(&w)
	if len(v.Costs) > 0 {
		fmt.Fprintf(&w, "\n%d frames did not arrive because their client was being moved or had just been\n", len(v.Costs))
		for _, c := range v.Costs {
			fmt.Fprintf(&w, "  %s\n", c)
		}
	}
	return trim(w.String()) + "\n"
}

func (t *PartTotal) ended() string {
	if len(t.Ended) == 0 {
		return "0"
	}
	var parts []string
	for _, r := range t.reasons() {
		parts = append(parts, fmt.Sprintf("%d: %s", t.Ended[r], r))
	}
	return strings.Join(parts, "; ")
}

// Headline is how much of what is wrong: "3 of 200 frames and 1 counter are wrong"; "" if nothing is.
func (v *Verdict) Headline() string {
	var parts []string
	add := func(n int, one, more string) {
		switch n {
		case 0:
		case 1:
			parts = append(parts, "1 "+one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, more))
		}
	}
	add(v.Wrong, fmt.Sprintf("of %d frames", v.Frames), fmt.Sprintf("of %d frames", v.Frames))
	add(len(v.Counters), "counter", "counters")
	add(len(v.State), "location, event or stack", "locations, events or stacks")
	add(len(v.Senders), "sender's report", "senders' reports")
	if len(parts) == 0 {
		return ""
	}
	text := strings.Join(parts, ", ")
	if n := len(parts); n > 1 {
		text = strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
	if len(parts) == 1 && strings.HasPrefix(text, "1 ") {
		return text + " is wrong"
	}
	return text + " are wrong"
}

// shownState is what of State is shown in full.
func (v *Verdict) shownState() []string {
	shown := v.State[:min(len(v.State), shownFrames):min(len(v.State), shownFrames)]
	if more := len(v.State) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d locations, events or stacks more", more))
	}
	return shown
}

// complaint is everything that is wrong, with at most as many accounts of wrong frames.
func (v *Verdict) complaint(accounts int) string {
	var w strings.Builder
	fmt.Fprintf(&w, "%s\n%s\n", v.Headline(), v.summary())
	if told := slices.Concat(v.Senders, v.shownState()); len(told) > 0 {
		fmt.Fprintf(&w, "\n%s\n", strings.Join(told, "\n"))
	}
	if len(v.Sides) > 0 {
		w.WriteString("\n")
		table(&w, func(line func(...any)) {
			line("TAP", "DIRECTION", "MISSING", "TOO MANY")
			for _, s := range v.Sides {
				line(s.Tap, s.Direction, s.Missing, s.Extra)
			}
		})
	}
	v.complainCounters(&w)
	v.complainDrops(&w)
	told := 0
	for i := range v.WrongFrames[:min(len(v.WrongFrames), accounts)] {
		f := &v.WrongFrames[i]
		alike := ""
		if f.Alike > 1 {
			alike = fmt.Sprintf(" (and %d more in the same way)", f.Alike-1)
		}
		fmt.Fprintf(&w, "\nwrong frame %d of %d%s: %s", told+1, v.Wrong, alike, f)
		told += f.Alike
	}
	if more := v.Wrong - told; more > 0 {
		fmt.Fprintf(&w, "\nand %d wrong frames more\n", more)
	}
	return trim(w.String())
}

func (v *Verdict) complainCounters(w *strings.Builder) {
	if len(v.Counters) == 0 {
		return
	}
	alike := v.AlikeCounters()
	w.WriteString("\n")
	table(w, func(line func(...any)) {
		line("COUNTER", "OF", "UNIT", "WANT", "GOT", "DIFFERENCE")
		for _, c := range alike[:min(len(alike), shownFrames)] {
			line(c.Kind, c.Names(), "frames", c.Want.Packets, c.Got.Packets, difference(c.Got.Packets, c.Want.Packets))
			line("", "", "octets", c.Want.Bytes, c.Got.Bytes, difference(c.Got.Bytes, c.Want.Bytes))
		}
	})
	if more := alike[min(len(alike), shownFrames):]; len(more) > 0 {
		counters := 0
		for _, c := range more {
			counters += c.Alike
		}
		fmt.Fprintf(w, "  and %d counters more\n", counters)
	}
}

// AlikeCounters are the wrong counters; of more than can be shown, those of one kind that are wrong in the same way are one.
func (v *Verdict) AlikeCounters() []AlikeCounters {
	type key struct {
		kind      string
		want, got control.Tally
	}
	var alike []AlikeCounters
	at := map[key]int{}
	for _, c := range v.Counters {
		k := key{c.Kind, c.Want, c.Got}
		if i, there := at[k]; there && len(v.Counters) > shownFrames {
			alike[i].Alike++
			continue
		}
		at[k] = len(alike)
		alike = append(alike, AlikeCounters{c, 1})
	}
	return alike
}

// AlikeCounters is the first of wrong counters of one kind with the same values, and how many there are, it included.
type AlikeCounters struct {
	Difference
	Alike int
}

// Names is whose counters they are.
func (c *AlikeCounters) Names() string {
	if c.Alike == 1 {
		return c.Name
	}
	return fmt.Sprintf("%s and %d more", c.Name, c.Alike-1)
}

// difference has a sign. Counters only wrap around in fiction.
func difference(got, want uint64) string { return fmt.Sprintf("%+d", int64(got-want)) }
