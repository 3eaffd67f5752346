package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	"github.com/vishvananda/netlink"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func TestApplyAFile(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	b.run("--trunk", "t0", "--assign", clientA+"=w0", "--assign", clientB+"=w0")
	file := filepath.Join(t.TempDir(), "wanted.yaml")
	b.write(file, "assign: {"+clientB+": w1, "+clientC+": w1}\n")

	g.Expect(b.ask("apply", "-f", file, "--prune", "--dry-run")).To(Equal(`+ 02:00:00:00:00:0c  w1
~ 02:00:00:00:00:0b  w0 -> w1
- 02:00:00:00:00:0a  w0
nothing was changed; to do: 1 assigned, 1 reassigned, 1 unassigned
`))
	g.Expect(b.workers()).To(Equal(map[string]string{clientA: "w0", clientB: "w0"}))
	var done control.Difference
	g.Expect(json.Unmarshal([]byte(b.ask("apply", "-f", file, "-o", "json")), &done)).To(Succeed())
	g.Expect(done).To(Equal(control.Difference{
		Assigned:   []demux.Assignment{given(clientC, "w1")},
		Reassigned: []control.Reassignment{{MAC: given(clientB, "").MAC, From: "w0", To: "w1"}}, Unassigned: []demux.Assignment{},
	}))
	g.Expect(b.workers()).To(Equal(map[string]string{clientA: "w0", clientB: "w1", clientC: "w1"}))

	b.write(file, "assign: {"+clientB+": w0, "+clientC+": nothere}\n")
	g.Expect(b.refused("apply", "-f", file, "--prune", "--socket", b.socket)).To(ContainSubstring("nothere"))
	g.Expect(b.workers()).To(Equal(map[string]string{clientA: "w0", clientB: "w1", clientC: "w1"}))
	b.write(file, "assign: [x]\n")
	g.Eventually(b.command("apply", "-f", file), patience).Should(gexec.Exit(exitUsage))
	g.Eventually(b.command("apply"), patience).Should(gexec.Exit(exitUsage))
	for _, cutShort := range []string{"", "# nothing\n", "assign:\n"} {
		b.write(file, cutShort)
		g.Eventually(b.command("apply", "-f", file, "--prune", "--socket", b.socket), patience).Should(gexec.Exit(exitUsage), cutShort)
	}
	g.Expect(b.workers()).To(HaveLen(3))
	b.write(file, "assign: {}\n")
	b.ask("apply", "-f", file, "--prune")
	g.Expect(b.workers()).To(BeEmpty())
}

func TestAForcedAssignmentThatIsRefusedTakesNoInterface(t *testing.T) {
	g := NewWithT(t)
	b := newBed(t)
	b.run("--trunk", "t0", "--assign", clientA+"=w0")
	address, err := netlink.ParseAddr("192.0.2.1/24")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(netlink.AddrAdd(b.link("w1"), address)).To(Succeed())
	for _, refused := range []string{clientA + "=w1", clientB + "=w1@u0:5"} {
		b.refused("assign", "--force", refused, "--socket", b.socket)
		g.Expect(b.programs("w1")).To(BeZero(), refused)
	}
	b.ask("assign", "--force", clientB+"=w1")
	g.Expect(b.workers()).To(Equal(map[string]string{clientA: "w0", clientB: "w1"}))
}

func TestMetricsOnAnAddress(t *testing.T) {
	g := NewWithT(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := free.Addr().String()
	g.Expect(free.Close()).To(Succeed())
	b := newBed(t)
	b.setUp("lo")
	session := b.run("--trunk", "t0", "--assign", clientA+"=w0", "--metrics", address)
	// By hand: a client of net/http connects from a thread that is in another namespace.
	conn, err := net.DialTimeout("tcp", address, patience)
	g.Expect(err).NotTo(HaveOccurred())
	defer conn.Close()
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/metrics", nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(request.Write(conn)).To(Succeed())
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(ContainSubstring(`vlandemux_client_packets_total{direction="tx",mac="` + clientA + `",worker="w0"} 0`))
	g.Eventually(session.Terminate(), patience).Should(gexec.Exit(0))
}

func TestAFileOfAMillionLines(t *testing.T) {
	g := NewWithT(t)
	var text strings.Builder
	text.WriteString("trunks: [eth1]\ncapacity: 1048576\nassign:\n")
	for i := range 1_000_000 {
		fmt.Fprintf(&text, "  02:00:00:%02x:%02x:%02x: worker%d\n", i>>16, i>>8&255, i&255, i%1000)
	}
	settings := defaults()
	g.Expect(parseConfig("a million", text.String(), &settings)).To(Succeed())
	g.Expect(settings.validate()).To(Succeed())
	g.Expect(settings.assign).To(HaveLen(1_000_000))
	g.Expect(settings.assign[999_999].String()).To(Equal("02:00:00:0f:42:3f=worker999"))
}
