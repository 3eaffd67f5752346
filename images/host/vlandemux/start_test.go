package main

import (
	"context"
	"log/slog"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

func client(n byte) demux.MAC { return demux.MAC{2, 0, 0, 0, 0, n} }

// pinned is a dataplane as an earlier process left it: trunk eth1, client 1 on w0.
func pinned() *fakePlane {
	names := fakeNames{"eth1": 1, "eth2": 2, "w0": 10, "w1": 11}
	plane := newFakePlane(names)
	plane.trunks["eth1"], plane.workers["w0"], plane.assigned[client(1)] = true, true, "w0"
	return plane
}

func quiet(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func TestStartAddsToWhatIsPinned(t *testing.T) {
	g := NewWithT(t)
	plane := pinned()
	settings := config{trunks: []string{"eth1", "eth2"}, assign: []demux.Assignment{{MAC: client(2), Worker: "w1"}, {MAC: client(3), Worker: "w0"}}}
	g.Expect(start(t.Context(), plane, settings, quiet(t))).To(Succeed())
	g.Expect(plane.trunks).To(Equal(map[string]bool{"eth1": true, "eth2": true}))
	g.Expect(plane.workers).To(Equal(map[string]bool{"w0": true, "w1": true}))
	g.Expect(plane.assigned).To(Equal(map[demux.MAC]string{client(1): "w0", client(2): "w1", client(3): "w0"}))
}

func TestStartMovesAClientThatHasAnotherWorker(t *testing.T) {
	g := NewWithT(t)
	plane := pinned()
	g.Expect(start(t.Context(), plane, config{assign: []demux.Assignment{{MAC: client(1), Worker: "w1"}}}, quiet(t))).To(Succeed())
	g.Expect(plane.assigned).To(Equal(map[demux.MAC]string{client(1): "w1"}))
	g.Expect(plane.trunks).To(Equal(map[string]bool{"eth1": true}), "without --trunk the last run's")
}

func TestStartLetsGoOfOtherTrunks(t *testing.T) {
	g := NewWithT(t)
	plane := pinned()
	g.Expect(start(t.Context(), plane, config{trunks: []string{"eth2"}}, quiet(t))).To(Succeed())
	g.Expect(plane.trunks).To(Equal(map[string]bool{"eth2": true}))
}

func TestStartNeedsATrunk(t *testing.T) {
	g := NewWithT(t)
	plane := pinned()
	delete(plane.trunks, "eth1")
	g.Expect(start(t.Context(), plane, config{}, quiet(t))).To(MatchError(ContainSubstring("--trunk eth1")))
}

func TestAStartThatFailsTakesBackWhatItDid(t *testing.T) {
	good := config{trunks: []string{"eth2", "eth1"}, assign: []demux.Assignment{{MAC: client(1), Worker: "w1"}, {MAC: client(2), Worker: "w1"}}}
	for name, spoil := range map[string]func(*fakePlane, *config){
		"trunk in use": func(f *fakePlane, _ *config) { f.failTrunk = "w1" },
		"trunk as a worker": func(_ *fakePlane, c *config) {
			c.assign = append(c.assign, demux.Assignment{MAC: client(3), Worker: "eth1"})
		},
		"worker as a trunk":   func(_ *fakePlane, c *config) { c.trunks = append(c.trunks, "w0") },
		"no room for clients": func(f *fakePlane, _ *config) { f.capacity = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			plane := pinned()
			before := plane.state()
			settings := good
			spoil(plane, &settings)
			g.Expect(start(t.Context(), plane, settings, quiet(t))).NotTo(Succeed())
			g.Expect(plane.state()).To(Equal(before))
		})
	}
}

// cancelling is a dataplane during whose first reassignment Ctrl-C is pressed.
type cancelling struct {
	*fakePlane
	cancel context.CancelFunc
}

func (c cancelling) ReassignAll(list []demux.Assignment) error {
	c.cancel()
	return c.fakePlane.ReassignAll(list)
}

func TestCtrlCDuringAStartTakesBackWhatItDid(t *testing.T) {
	g := NewWithT(t)
	plane := pinned()
	before := plane.state()
	ctx, cancel := context.WithCancel(t.Context())
	settings := config{trunks: []string{"eth1", "eth2"}, assign: []demux.Assignment{{MAC: client(1), Worker: "w1"}, {MAC: client(2), Worker: "w0"}}}
	g.Expect(start(ctx, cancelling{plane, cancel}, settings, quiet(t))).To(MatchError(context.Canceled))
	g.Expect(plane.state()).To(Equal(before))
}

func TestStartWaitsForInterfacesThatAreNotThere(t *testing.T) {
	g := NewWithT(t)
	plane := pinned()
	settings := config{trunks: []string{"eth1", "eth9"}, assign: []demux.Assignment{{MAC: client(3), Worker: "w9"}}}
	g.Expect(start(t.Context(), plane, settings, quiet(t))).To(Succeed())
	g.Expect(plane.trunks).To(HaveKey("eth9"))
	g.Expect(plane.assigned).To(HaveKeyWithValue(client(3), "w9"))
}
