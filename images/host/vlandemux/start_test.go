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
func pinned() (*fakePlane, fakeNames) {
	names := fakeNames{"eth1": 1, "eth2": 2, "w0": 10, "w1": 11}
	plane := newFakePlane(names)
	plane.trunks[1], plane.workers[10], plane.assigned[client(1)] = true, true, 10
	return plane, names
}

func quiet(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func TestStartAddsToWhatIsPinned(t *testing.T) {
	g := NewWithT(t)
	plane, names := pinned()
	settings := config{trunks: []string{"eth1", "eth2"}, assign: []pair{{client(2), "w1"}, {client(3), "w0"}}}
	g.Expect(start(t.Context(), plane, names, settings, quiet(t))).To(Succeed())
	g.Expect(plane.trunks).To(Equal(map[int]bool{1: true, 2: true}))
	g.Expect(plane.workers).To(Equal(map[int]bool{10: true, 11: true}))
	g.Expect(plane.assigned).To(Equal(map[demux.MAC]int{client(1): 10, client(2): 11, client(3): 10}))
}

func TestStartMovesAClientThatHasAnotherWorker(t *testing.T) {
	g := NewWithT(t)
	plane, names := pinned()
	g.Expect(start(t.Context(), plane, names, config{assign: []pair{{client(1), "w1"}}}, quiet(t))).To(Succeed())
	g.Expect(plane.assigned).To(Equal(map[demux.MAC]int{client(1): 11}))
	g.Expect(plane.trunks).To(Equal(map[int]bool{1: true}), "without --trunk the last run's")
}

func TestStartLetsGoOfOtherTrunks(t *testing.T) {
	g := NewWithT(t)
	plane, names := pinned()
	g.Expect(start(t.Context(), plane, names, config{trunks: []string{"eth2"}}, quiet(t))).To(Succeed())
	g.Expect(plane.trunks).To(Equal(map[int]bool{2: true}))
}

func TestStartNeedsATrunk(t *testing.T) {
	g := NewWithT(t)
	plane, names := pinned()
	delete(plane.trunks, 1)
	g.Expect(start(t.Context(), plane, names, config{}, quiet(t))).To(MatchError(ContainSubstring("--trunk eth1")))
}

func TestAStartThatFailsTakesBackWhatItDid(t *testing.T) {
	good := config{trunks: []string{"eth2", "eth1"}, assign: []pair{{client(1), "w1"}, {client(2), "w1"}}}
	for name, spoil := range map[string]func(*fakePlane, *config){
		"trunk in use":        func(f *fakePlane, _ *config) { f.failTrunk = 11 },
		"unknown worker":      func(_ *fakePlane, c *config) { c.assign = append(c.assign, pair{client(3), "w9"}) },
		"trunk as a worker":   func(_ *fakePlane, c *config) { c.assign = append(c.assign, pair{client(3), "eth1"}) },
		"worker as a trunk":   func(_ *fakePlane, c *config) { c.trunks = append(c.trunks, "w0") },
		"no room for clients": func(f *fakePlane, _ *config) { f.capacity = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			plane, names := pinned()
			before := plane.state()
			settings := good
			spoil(plane, &settings)
			g.Expect(start(t.Context(), plane, names, settings, quiet(t))).NotTo(Succeed())
			g.Expect(plane.state()).To(Equal(before))
		})
	}
}

// cancelling is a dataplane during whose first reassignment Ctrl-C is pressed.
type cancelling struct {
	*fakePlane
	cancel context.CancelFunc
}

func (c cancelling) Reassign(mac demux.MAC, worker int) error {
	c.cancel()
	return c.fakePlane.Reassign(mac, worker)
}

func TestCtrlCDuringAStartTakesBackWhatItDid(t *testing.T) {
	g := NewWithT(t)
	plane, names := pinned()
	before := plane.state()
	ctx, cancel := context.WithCancel(t.Context())
	settings := config{trunks: []string{"eth1", "eth2"}, assign: []pair{{client(1), "w1"}, {client(2), "w0"}}}
	g.Expect(start(ctx, cancelling{plane, cancel}, names, settings, quiet(t))).To(MatchError(context.Canceled))
	g.Expect(plane.state()).To(Equal(before))
}

func TestInterfacesThatComeBackAreAttachedAgain(t *testing.T) {
	g := NewWithT(t)
	plane, names := pinned()
	plane.assigned[client(2)] = 11
	plane.workers[11] = true
	f := newFollower(plane, names, quiet(t))
	for name, index := range names {
		f.update(false, index, name)
	}
	before := plane.state()
	f.update(false, 10, "w0")
	f.update(false, 50, "other")
	f.update(true, 50, "other")
	f.update(true, 2, "eth2")
	f.update(false, 51, "eth2")
	g.Expect(plane.state()).To(Equal(before), "changes of other interfaces do nothing")

	f.update(true, 10, "w0")
	f.update(true, 1, "eth1")
	g.Expect(plane.assigned).To(HaveKeyWithValue(client(1), 10), "a client waits for its worker")
	names["w0"], names["eth1"] = 60, 61
	f.update(false, 60, "w0")
	f.update(false, 61, "eth1")
	g.Expect(plane.trunks).To(Equal(map[int]bool{61: true}))
	g.Expect(plane.workers).To(Equal(map[int]bool{60: true, 11: true}))
	g.Expect(plane.assigned).To(Equal(map[demux.MAC]int{client(1): 60, client(2): 11}))
	after := plane.state()
	f.update(false, 60, "w0")
	f.update(false, 61, "eth1")
	g.Expect(plane.state()).To(Equal(after))
}
