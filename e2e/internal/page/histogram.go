package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/harness"
)

// histogram is how long one part kept frames.
type histogram struct {
	Part    string
	Frames  uint64
	Longest time.Duration
	Bars    []bar
}

// bar is the frames that were kept for less than Below and for no less than the bar before.
type bar struct {
	Below   string
	Frames  uint64
	Percent string  // of all
	Height  float64 // 0 to 40, by the logarithm
}

// Last is the bar of what was kept longest.
func (h *histogram) Last() bar { return h.Bars[len(h.Bars)-1] }

// Text is the histogram in words.
func (h *histogram) Text() string {
	var parts []string
	for _, b := range h.Bars {
		if b.Frames > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", b.Frames, b.Below))
		}
	}
	return strings.Join(parts, ", ")
}

// newHistogram gives one for each part that kept anything: links, switch and demux. All have the same bars.
func newHistogram(v *harness.Verdict) []histogram {
	limits := harness.HeldLimits()
	first, last := len(limits), 0
	var most uint64
	for _, held := range v.Held {
		for i, n := range held.Frames {
			if n > 0 {
				first, last, most = min(first, i), max(last, i), max(most, n)
			}
		}
	}
	var all []histogram
	for i, name := range []string{"links", "switch", "demux"} {
		h := histogram{Part: name, Longest: v.Held[i].Longest}
		for _, n := range v.Held[i].Frames {
			h.Frames += n
		}
		if h.Frames == 0 {
			continue
		}
		for j := first; j <= last; j++ {
			n := v.Held[i].Frames[j]
			b := bar{Frames: n, Below: "longer", Percent: fmt.Sprintf("%.1f", 100*float64(n)/float64(h.Frames))}
			if j < len(limits) {
				b.Below = "< " + limits[j].String()
			}
			if n > 0 {
				b.Height = 4 + 36*math.Log1p(float64(n))/math.Log1p(float64(most))
			}
			h.Bars = append(h.Bars, b)
		}
		all = append(all, h)
	}
	return all
}
