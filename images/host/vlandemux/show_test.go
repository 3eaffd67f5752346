package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func eth1(vid uint16) *control.Location {
	return &control.Location{Trunk: "eth1", TrunkIndex: 2, Protocol: "802.1Q", VID: vid}
}

func given(mac, worker string) demux.Assignment {
	parsed, err := demux.ParseMAC(mac)
	if err != nil {
		panic(err)
	}
	return demux.Assignment{MAC: parsed, Worker: worker}
}

// golden compares text with a file of testdata. With UPDATE=1 it writes the file.
func golden(t *testing.T, name, text string) {
	t.Helper()
	g := NewWithT(t)
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") == "1" {
		g.Expect(os.WriteFile(path, []byte(text), 0o644)).To(Succeed())
	}
	want, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(text).To(Equal(string(want)))
}

func TestCountersTable(t *testing.T) {
	var out strings.Builder
	NewWithT(t).Expect(writeCounters(&out, control.Counters{
		Clients: []control.ClientCounters{
			{MAC: given("02:00:00:00:00:01", "").MAC, Worker: "w0", Location: eth1(12),
				Rx: control.Tally{Packets: 1234567, Bytes: 1888888888}, Tx: control.Tally{Packets: 50, Bytes: 3400}},
			{MAC: given("02:00:00:00:00:02", "").MAC, Worker: "ifindex 12 (gone)", Location: &control.Location{
				Trunk: "eth1", Protocol: "802.1ad", VID: 4094, PCP: 5, DEI: true}, Rx: control.Tally{Packets: math.MaxUint64}},
			{MAC: given("02:00:00:00:00:03", "").MAC, Worker: "wörker"},
		},
		Workers: []control.WorkerCounters{{Worker: "w0", Flooded: control.Tally{Packets: 3, Bytes: 192}}},
		Drops: []control.DropCounter{
			{Reason: "untagged", Tally: control.Tally{Packets: 1000, Bytes: 64000}}, {Reason: "unknown_client"},
		},
		Passed:     control.Tally{Packets: 7, Bytes: 448},
		EventsLost: 1000,
	})).To(Succeed())
	golden(t, "counters.txt", out.String())
}

func TestWatchedCountersHaveNoHeadWithoutABody(t *testing.T) {
	g := NewWithT(t)
	var out, err strings.Builder
	args := []string{"counters", "--watch=1s", "--socket=" + filepath.Join(t.TempDir(), "nobody-listens")}
	g.Expect(execute(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &err})).NotTo(BeZero())
	g.Expect(err.String()).To(ContainSubstring("nobody-listens"))
	g.Expect(out.String()).To(BeEmpty())
}

func TestStatusTable(t *testing.T) {
	var out strings.Builder
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	NewWithT(t).Expect(writeStatus(&out, report{
		Status: control.Status{
			Version: "v1.2.3", PID: 42, Started: now.Add(time.Hour), UptimeSeconds: 5400, Kernel: "6.12.48", BPFFS: "/sys/fs/bpf/vlandemux",
			Trunks:   []control.Interface{{Name: "eth1", Index: 2, Attach: "tcx", State: "up", MTU: 1500, EarlyDrop: true, Problems: []string{"eth1 is not promiscuous"}}},
			Workers:  []control.Interface{{Name: "w0", Index: 11, Attach: "tcx", State: "down", MTU: 1500, Peer: true}, {Name: "w1", State: "absent"}},
			Problems: []string{"the pins in /sys/fs/bpf/vlandemux have gone"},
			Capacity: 4096, Assigned: 2, Untagged: "drop", Unknown: "w9", GroupLimit: 1000, AgeSeconds: 300,
		},
		Assignments: []control.Assignment{
			{Assignment: given("02:00:00:00:00:01", "w0"), WorkerIndex: 11, Location: eth1(12)},
			{Assignment: given("02:00:00:00:00:02", "w1")},
		},
	}, now)).To(Succeed())
	golden(t, "status.txt", out.String())
}

func TestEventLines(t *testing.T) {
	var out strings.Builder
	g := NewWithT(t)
	when := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.Local)
	g.Expect(writeEvent(&out, control.Event{Type: "learned", MAC: given("02:00:00:00:00:01", "").MAC, To: eth1(12), Time: when})).To(Succeed())
	g.Expect(writeEvent(&out, control.Event{Type: "moved", MAC: given("02:00:00:00:00:01", "").MAC, From: eth1(12), To: eth1(0), Time: when})).To(Succeed())
	g.Expect(writeEvent(&out, control.Event{Type: "moved", MAC: given("02:00:00:00:00:01", "").MAC, From: eth1(12), To: eth1(0), Merged: 1234, Time: when})).To(Succeed())
	g.Expect(writeEvent(&out, control.Event{Type: "forgotten", MAC: given("02:00:00:00:00:01", "").MAC, From: eth1(12), Time: when})).To(Succeed())
	g.Expect(writeEvent(&out, control.Event{Type: "wrong_place", MAC: given("02:00:00:00:00:01", "").MAC, From: eth1(12), To: eth1(0), Time: when})).To(Succeed())
	drop := control.Drop{Reason: "unknown_client", MAC: given("02:00:00:00:00:09", "").MAC, Interface: "eth1", Place: eth1(12), Packets: 1, Time: when}
	g.Expect(writeDrop(&out, drop)).To(Succeed())
	drop.Reason, drop.Place, drop.Packets = "untagged", nil, 1234
	g.Expect(writeDrop(&out, drop)).To(Succeed())
	drop.Reason, drop.Interface, drop.Place = "too_long", "w0", eth1(12)
	g.Expect(writeDrop(&out, drop)).To(Succeed())
	g.Expect(out.String()).To(Equal(
		"03:04:05.678901  learned      02:00:00:00:00:01  eth1 802.1Q 12\n" +
			"03:04:05.678901  moved        02:00:00:00:00:01  eth1 802.1Q 12 -> eth1 802.1Q 0\n" +
			"03:04:05.678901  moved        02:00:00:00:00:01  eth1 802.1Q 12 -> eth1 802.1Q 0  (1,234 events)\n" +
			"03:04:05.678901  forgotten    02:00:00:00:00:01  eth1 802.1Q 12\n" +
			"03:04:05.678901  wrong_place  02:00:00:00:00:01  eth1 802.1Q 12 -> eth1 802.1Q 0\n" +
			"03:04:05.678901  dropped    unknown_client  02:00:00:00:00:09  eth1 802.1Q 12  1 frame\n" +
			"03:04:05.678901  dropped    untagged        02:00:00:00:00:09  eth1 no VLAN  1,234 frames\n" +
			"03:04:05.678901  dropped    too_long        02:00:00:00:00:09  w0 -> eth1 802.1Q 12  1,234 frames\n"))
}

func TestThousandsAreApart(t *testing.T) {
	g := NewWithT(t)
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1,000", 999999: "999,999", 1000000: "1,000,000", math.MaxUint64: "18,446,744,073,709,551,615",
	} {
		g.Expect(count(n)).To(Equal(want))
	}
}
