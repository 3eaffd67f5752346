package main

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/gexec"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

func TestItSaysThatAnXDPProgramIsOnAnInterface(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	session := b.run("--trunk", "t0", "--assign", clientA+"=w0")
	pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.LoadImm(asm.R0, 2, asm.DWord), asm.Return()}})
	g.Expect(err).NotTo(HaveOccurred())
	defer pass.Close()
	g.Expect(b.status().Trunks[0].Problems).To(BeEmpty())
	g.Expect(netlink.LinkSetXdpFdWithFlags(b.link("t0"), pass.FD(), nl.XDP_FLAGS_SKB_MODE)).To(Succeed())
	g.Expect(b.status().Trunks[0].Problems).To(ConsistOf(HavePrefix("t0 has an XDP program")))
	g.Expect(b.status().Workers[0].Problems).To(BeEmpty())

	const told = `not all frames may reach the demux" interface=%s problem="%[1]s has an XDP program`
	g.Expect(session.Err.Contents()).NotTo(ContainSubstring("not all frames"))
	g.Expect(netlink.LinkSetXdpFdWithFlags(b.link("w1"), pass.FD(), nl.XDP_FLAGS_SKB_MODE)).To(Succeed())
	b.ask("assign", clientB+"=w1")
	g.Eventually(session.Err, patience).Should(gbytes.Say(told, "w1"))
	b.ask("assign", "02:00:00:00:00:0c"+"=w1")
	g.Expect(netlink.LinkDel(b.link("w1"))).To(Succeed())
	b.veth("spare", "w1p")
	g.Expect(netlink.LinkSetXdpFdWithFlags(b.link("spare"), pass.FD(), nl.XDP_FLAGS_SKB_MODE)).To(Succeed())
	g.Expect(netlink.LinkSetDown(b.link("spare"))).To(Succeed())
	g.Expect(netlink.LinkSetName(b.link("spare"), "w1")).To(Succeed())
	g.Eventually(session.Err, patience).Should(gbytes.Say(told, "w1"))
	g.Expect(bytes.Count(session.Err.Contents(), []byte("not all frames"))).To(Equal(2), "once for each time it was attached")
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
	g.Eventually(b.run("--trunk", "t0").Err, patience).Should(gbytes.Say(told, "t0"))
}

// The demux's own is none of those. Without the option the next run goes on with it.
func TestItDropsUnknownMACsInTheDriver(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	session := b.run("--trunk", "t0", "--assign", clientA+"=w0", "--early-drop", "xdp")
	g.Expect(b.status().Trunks[0]).To(And(HaveField("EarlyDrop", true), HaveField("Problems", BeEmpty())))
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
	g.Expect(session.Err.Contents()).NotTo(ContainSubstring("not all frames"))
	session = b.run()
	b.port("t1").send(tagged(frame(gateway, clientB, "x"), 12))
	g.Eventually(func() string { return b.ask("counters") }, patience).Should(MatchRegexp(`unknown_client +1 +64\n`))
	g.Expect(b.ask("status")).To(MatchRegexp(`t0 +trunk .*, xdp `))
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
	g.Expect(b.refused("run", "--bpffs", b.bpffs, "--socket", b.socket, "--unknown", "pass")).To(ContainSubstring("give --unknown drop or --early-drop off"))
	b.run("--early-drop", "off", "--unknown", "pass")
	g.Expect(b.link("t0").Attrs().Xdp.Attached).To(BeFalse())
}

// The trunk that a client was on has gone, and its name is told.
func TestItNamesATrunkThatHasGone(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	b.run("--trunk", "t0", "--assign", clientA+"=w0")
	watch := b.command("watch", "--socket", b.socket)
	g.Eventually(watch.Err, patience).Should(gbytes.Say("watching"))
	b.port("t1").send(tagged(frame(gateway, clientA, "x"), 12))
	g.Eventually(watch.Out, patience).Should(gbytes.Say(`t0 `))
	g.Expect(netlink.LinkDel(b.link("t0"))).To(Succeed())
	g.Eventually(watch.Out, patience).Should(gbytes.Say(`t0 \(gone\)`))
}
