package harness_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// oneWorkerAVLAN is the contract of testdata/vlanworkers: the worker of each VID, at trunk0.
type oneWorkerAVLAN map[uint16]string

func (workers oneWorkerAVLAN) Outcomes(f harness.Passage) []harness.Outcome {
	for vid, worker := range workers {
		tag := harness.Tag{Protocol: harness.Dot1Q, TCI: vid}
		switch {
		case f.Port == worker:
			return leave("trunk0", append([]harness.Tag{tag}, f.Tags...)...)
		case f.Port == "trunk0" && len(f.Tags) > 0 && f.Tags[0].Protocol == tag.Protocol && f.Tags[0].VID() == vid:
			return leave(worker, f.Tags[1:]...)
		}
	}
	return []harness.Outcome{{Why: "it belongs to no worker"}}
}

func leave(port string, tags ...harness.Tag) []harness.Outcome {
	return []harness.Outcome{{Leaving: []harness.Leaving{{Port: port, Tags: tags}}}}
}

// A dataplane that knows nothing of MACs runs in the same labs, in front of the same
// taps, and the same ledger judges it, by the page above.
func TestADataplaneWithAContractOfItsOwn(t *testing.T) {
	g := NewWithT(t)
	ctx := t.Context()
	program := filepath.Join(t.TempDir(), "vlanworkers")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", program, "./testdata/vlanworkers")
	build.Env = append(build.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	out, err := build.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), "%s", out)
	t.Setenv("DEMUX", program)
	h, err := harness.Connect(ctx, harness.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(h.Close()).To(Succeed()) })

	// run sends frames of every kind in a lab of that dataplane and gives what the ledger says.
	run := func(t *testing.T, reference harness.Reference, arguments ...string) error {
		g := NewWithT(t)
		topology := harness.Topology{Demux: harness.Demux{Contract: &harness.Contract{Arguments: append([]string{"trunk0"}, arguments...), Reference: reference}}}
		for i, vid := range []uint16{7, 8, 9, 7} {
			topology.Clients = append(topology.Clients, harness.Client{
				Name: fmt.Sprintf("c%d", i), MAC: harness.MAC{2, 0, 0, 0, 0, byte(i)}, Place: harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: vid}},
			})
		}
		for i := range 2 {
			topology.Workers = append(topology.Workers, harness.Worker{Name: fmt.Sprintf("w%d", i), MAC: harness.MAC{2, 0, 0, 0, 1, byte(i)}})
		}
		lab, err := h.Start(ctx, topology, 1)
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { g.Expect(lab.Close()).To(Succeed()) }()
		window, err := lab.OpenWindow(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		batch := func(name string, from, to harness.MAC) harness.Batch {
			return harness.Batch{Name: name, ID: lab.Seed.BatchID(name), Count: 10, Source: from, Destination: to, Size: harness.MinFrame}
		}
		everybody := harness.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		for _, c := range lab.Topology.Clients {
			g.Expect(window.Send(ctx, c.Name, batch(c.Name, c.MAC, everybody))).To(Succeed())
		}
		for i, w := range lab.Topology.Workers {
			g.Expect(window.Send(ctx, w.Name, batch(w.Name, w.MAC, lab.Topology.Clients[i].MAC), batch("all of "+w.Name, w.MAC, everybody))).To(Succeed())
		}
		double := batch("two tags", lab.Topology.Clients[0].MAC, everybody)
		double.Tags = []harness.Tag{{Protocol: harness.Dot1Q, TCI: 0xe007}, {Protocol: harness.Dot1AD, TCI: 8}}
		service := batch("a service tag", lab.Topology.Clients[0].MAC, everybody)
		service.Tags = []harness.Tag{{Protocol: harness.Dot1AD, TCI: 7}}
		g.Expect(window.Inject(ctx, 0, double, service, batch("no tag", lab.Topology.Clients[0].MAC, everybody))).To(Succeed())
		g.Expect(lab.Move(ctx, "c0", harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: 8}})).To(Succeed())
		g.Expect(window.Send(ctx, "c0", batch("moved", lab.Topology.Clients[0].MAC, everybody))).To(Succeed())
		verdict, err := window.Close(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(verdict.Sent.Packets).To(BeEquivalentTo(120))
		return verdict.Err()
	}
	reference := oneWorkerAVLAN{7: "w0", 8: "w1"}
	t.Run("does what its contract says", func(t *testing.T) {
		NewWithT(t).Expect(run(t, reference, "7=w0", "8=w1")).To(Succeed())
	})
	t.Run("and is found out when it does not", func(t *testing.T) {
		NewWithT(t).Expect(run(t, reference, "7=w0")).To(MatchError(And(ContainSubstring("host/w1"), ContainSubstring("← missing"))))
	})
	t.Run("as is a reference that lets frames leave nowhere", func(t *testing.T) {
		NewWithT(t).Expect(run(t, oneWorkerAVLAN{7: "w0", 8: "w2"}, "7=w0", "8=w1")).To(MatchError(ContainSubstring(`leave at port "w2"`)))
	})
}
