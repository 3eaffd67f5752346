package harness

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/agent"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

func TestFramesThatComeLateAreChargedToTheWindow(t *testing.T) {
	lab := &Lab{clients: map[string]*Node{"c0": {Name: "c0"}}, workers: map[string]*Node{"w0": {Name: "w0"}}}
	seen := func(tap string, d probe.Direction, fp probe.Fingerprint) agent.LateSighting {
		return agent.LateSighting{Tap: tap, Sighting: probe.Sighting{Direction: d, Fingerprint: fp, Length: 60, EtherType: 0x88b5}}
	}
	duplicate := []agent.LateSighting{seen("w0/eth0", probe.In, 7), seen("host/w0", probe.Out, 7)}
	spoken := []agent.LateSighting{seen("c0/eth0", probe.Out, 9), seen("switch/c0", probe.In, 9)}
	for _, test := range []struct {
		name    string
		sockets bool
		late    []agent.LateSighting
		frames  int
	}{
		{"nothing", false, nil, 0},
		{"a duplicate", false, duplicate, 2},
		{"a duplicate where sockets may speak", true, duplicate, 2},
		{"a frame of a socket", true, spoken, 0},
		{"a frame of a socket where none may speak", false, spoken, 2},
		{"both", true, append(duplicate, spoken...), 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			w := &Window{Opened: "scenarios/x.go:7", lab: lab}
			if test.sockets {
				w.sockets = []string{"c0", "w0"}
			}
			err := w.late(test.late)
			if test.frames == 0 {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring("frames crossed a tap after the window opened at scenarios/x.go:7 was closed:")))
			g.Expect(strings.Count(err.Error(), "\n")).To(Equal(test.frames))
		})
	}
	NewWithT(t).Expect((*Window)(nil).late(duplicate)).To(Succeed(), "before the first window")
}

func TestAWindowThatIsNotClosedIsAnError(t *testing.T) {
	g := NewWithT(t)
	lab := &Lab{}
	lab.swapWindow(&Window{Opened: "scenarios/x.go:7", lab: lab})
	g.Expect(lab.CheckClosed()).To(MatchError(ContainSubstring("the window opened at scenarios/x.go:7 was never closed")))
	g.Expect(lab.CheckClosed()).To(Succeed(), "it was said")
}
