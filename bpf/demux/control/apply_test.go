package control_test

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

const (
	macA = "02:00:00:00:00:0a"
	macB = "02:00:00:00:00:0b"
	macC = "02:00:00:00:00:0c"
	macD = "02:00:00:00:00:0d"
)

func parse(text string) demux.MAC {
	mac, err := demux.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return mac
}

func given(mac, worker string) demux.Assignment {
	return demux.Assignment{MAC: parse(mac), Worker: worker}
}

func assigned(t *testing.T, client *control.Client) map[string]string {
	t.Helper()
	list, err := client.Assignments(t.Context())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	workers := make(map[string]string)
	for _, a := range list {
		workers[a.MAC.String()] = a.Worker
	}
	return workers
}

func TestApplyReturnsAndMakesTheDifference(t *testing.T) {
	g := NewWithT(t)
	socket, _ := serve(t, newFakePlane(8))
	client := dial(t, socket)
	for _, mac := range []string{macA, macB, macC} {
		g.Expect(client.Assign(t.Context(), mac, "w0")).To(Succeed())
	}
	wanted := []demux.Assignment{given(macA, "w0"), given(macB, "w9"), given(macD, "w1")}
	want := control.Difference{
		Assigned:   []demux.Assignment{given(macD, "w1")},
		Reassigned: []control.Reassignment{{MAC: parse(macB), From: "w0", To: "w9"}},
		Unassigned: []demux.Assignment{given(macC, "w0")},
	}
	g.Expect(client.Apply(t.Context(), wanted, true, true)).To(Equal(want))
	g.Expect(assigned(t, client)).To(Equal(map[string]string{macA: "w0", macB: "w0", macC: "w0"}), "a dry run changes nothing")

	kept := want
	kept.Unassigned = []demux.Assignment{}
	g.Expect(client.Apply(t.Context(), wanted, false, false)).To(Equal(kept))
	g.Expect(assigned(t, client)).To(Equal(map[string]string{macA: "w0", macB: "w9", macC: "w0", macD: "w1"}))

	difference, err := client.Apply(t.Context(), wanted, true, false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(difference.Unassigned).To(Equal(want.Unassigned))
	g.Expect(assigned(t, client)).To(Equal(map[string]string{macA: "w0", macB: "w9", macD: "w1"}))
	difference, err = client.Apply(t.Context(), wanted, true, false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(difference.Empty()).To(BeTrue())
}

func TestApplyThatFailsWithRoomToSpareUnassignsNobody(t *testing.T) {
	g := NewWithT(t)
	socket, _ := serve(t, newFakePlane(8))
	client := dial(t, socket)
	g.Expect(client.Assign(t.Context(), macA, "w0")).To(Succeed())
	_, err := client.Apply(t.Context(), []demux.Assignment{given(macD, "w7")}, true, false)
	g.Expect(err).To(MatchError(demux.ErrUnknownInterface))
	g.Expect(assigned(t, client)).To(Equal(map[string]string{macA: "w0"}))
}

func TestApplyThatFailsChangesNothing(t *testing.T) {
	g := NewWithT(t)
	socket, _ := serve(t, newFakePlane(3))
	client := dial(t, socket)
	before := map[string]string{macA: "w0", macB: "w0", macC: "w0"}
	for mac, worker := range before {
		g.Expect(client.Assign(t.Context(), mac, worker)).To(Succeed())
	}
	for name, c := range map[string]struct {
		wanted []demux.Assignment
		prune  bool
		err    error
	}{
		"no such worker":                 {[]demux.Assignment{given(macA, "w9"), given(macD, "w7")}, true, demux.ErrUnknownInterface},
		"no such worker to move to":      {[]demux.Assignment{given(macA, "w7")}, true, demux.ErrUnknownInterface},
		"no room":                        {[]demux.Assignment{given(macA, "w9"), given(macD, "w0")}, false, demux.ErrFull},
		"a MAC twice":                    {[]demux.Assignment{given(macA, "w9"), given("02-00-00-00-00-0A", "w0")}, true, control.ErrBadRequest},
		"a group address among the rest": {[]demux.Assignment{given(macA, "w9"), given("01:00:5e:00:00:01", "w0")}, true, demux.ErrBadMAC},
	} {
		_, err := client.Apply(t.Context(), c.wanted, c.prune, false)
		g.Expect(errors.Is(err, c.err)).To(BeTrue(), "%s: %v", name, err)
		g.Expect(assigned(t, client)).To(Equal(before), name)
	}
	// A full table can be replaced as a whole.
	all := []demux.Assignment{given(macD, "w9")}
	_, err := client.Apply(t.Context(), all, true, false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(assigned(t, client)).To(Equal(map[string]string{macD: "w9"}))
}

func TestAnAnswerToGETCanBePUT(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(3)
	socket, _ := serve(t, plane)
	client := dial(t, socket)
	g.Expect(client.Assign(t.Context(), macA, "w0")).To(Succeed())
	plane.see(demux.MAC{2, 0, 0, 0, 0, 10}, demux.Location{Trunk: 2, Protocol: 0x8100, TCI: 12})
	_, saved := raw(t, socket, "GET", "/v1/assignments", "")
	g.Expect(client.Unassign(t.Context(), macA)).To(Succeed())
	status, text := raw(t, socket, "PUT", "/v1/assignments?prune=1", saved)
	g.Expect(status).To(Equal(200), text)
	g.Expect(assigned(t, client)).To(Equal(map[string]string{macA: "w0"}))
	status, text = raw(t, socket, "PUT", "/v1/assignments?prune=perhaps", saved)
	g.Expect(status).To(Equal(400), text)
	for _, nonsense := range []string{
		"{}", `{"assignments":null}`,
		`{"assignments":[{"worker":"w9"}],"assignments":[{"mac":"` + macA + `"}]}`,
		`{"assignments":[{"mac":"` + macA + `","worker":"w0","wroker":"w9"}]}`,
	} {
		status, text = raw(t, socket, "PUT", "/v1/assignments?prune=1", nonsense)
		g.Expect(status).To(Equal(400), text)
	}
	g.Expect(assigned(t, client)).To(Equal(map[string]string{macA: "w0"}))
}

// Where a client may be is part of its assignment: it is listed, compared and changed like its worker.
func TestPlacesAreApplied(t *testing.T) {
	g := NewWithT(t)
	socket, _ := serve(t, newFakePlane(8))
	client := dial(t, socket)
	at := func(vids ...uint16) (places []demux.Place) {
		for _, vid := range vids {
			places = append(places, demux.Place{Trunk: "eth1", Protocol: demux.Protocol8021Q, VID: vid})
		}
		return places
	}
	g.Expect(client.Assign(t.Context(), macA, "w0", at(12, 13)...)).To(Succeed())
	g.Expect(client.Assign(t.Context(), macB, "w0")).To(Succeed())
	list, err := client.Assignments(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]string{list[0].String(), list[1].String()}).To(Equal([]string{macA + "=w0@eth1:12,13", macB + "=w0"}))

	wanted := []demux.Assignment{given(macA, "w0"), given(macB, "w0")}
	wanted[0].Places = []demux.Place{{Trunk: "eth1", VID: 13}, {Trunk: "eth1", VID: 12}, {Trunk: "eth1", VID: 12}}
	difference, err := client.Apply(t.Context(), wanted, true, false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(difference.Empty()).To(BeTrue(), "the same places in another order")
	wanted[0].Places, wanted[1].Places = nil, at(7)
	difference, err = client.Apply(t.Context(), wanted, true, false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(difference.Reassigned).To(Equal([]control.Reassignment{
		{MAC: parse(macA), From: "w0", To: "w0"}, {MAC: parse(macB), From: "w0", To: "w0", Places: at(7)},
	}))
	g.Expect(client.Reassign(t.Context(), macA, "w9", at(4)...)).To(Succeed())
	list, err = client.Assignments(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]string{list[0].String(), list[1].String()}).To(Equal([]string{macA + "=w9@eth1:4", macB + "=w0@eth1:7"}))

	wanted[1].Places = at(4095)
	_, err = client.Apply(t.Context(), wanted, true, false)
	g.Expect(err).To(MatchError(demux.ErrBadPlace))
}
