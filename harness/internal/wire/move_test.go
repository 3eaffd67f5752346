package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

func TestMoveTakesTheClientToItsNewVLAN(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		n := lay(t, newPlan(t, kind, vlan2, vlan2, vlan3))
		tt := openTaps(t, n)
		for _, want := range []struct {
			move  Move
			trunk string
			with  string // the client that is in that VLAN already
		}{
			{to("c0", vlan3, 0), "host/trunk0", "c2/eth0"},
			{to("c0", vlan2, 0), "host/trunk0", "c1/eth0"},
			{to("c0", vlan2ad, 0), "host/trunk0", ""},
			{to("c0", vlan2, 1), "host/trunk1", ""},
			{to("c0", vlan3, 1), "host/trunk1", ""},
			{to("c0", vlan3, 0), "host/trunk0", "c2/eth0"},
		} {
			before := time.Now().UnixNano()
			w, err := n.Move(context.Background(), want.move)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.Start).To(BeNumerically(">=", before))
			g.Expect(w.End).To(And(BeNumerically(">", w.Start), BeNumerically("<=", time.Now().UnixNano())))
			up := newFrame(clientMAC(0), broadcast)
			seen := map[string][]byte{want.trunk: tagged(up, want.move.VLAN)}
			if want.with != "" {
				seen[want.with] = up
			}
			tt.expect(t, "c0/eth0", up, seen)
			down := newFrame(workerMAC(0), clientMAC(0))
			tt.expect(t, want.trunk, tagged(down, want.move.VLAN), map[string][]byte{"c0/eth0": down})
			g.Expect(n.plan.Clients[0].VLAN).To(Equal(want.move.VLAN))
			g.Expect("host/" + topology.TrunkName(n.plan.Clients[0].Trunk)).To(Equal(want.trunk))
		}
	})
}

func TestMoveForgetsWhatWasLearned(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		n := lay(t, newPlan(t, kind, vlan2, vlan2))
		tt := openTaps(t, n)
		hello := newFrame(clientMAC(0), broadcast)
		tt.expect(t, "c0/eth0", hello, map[string][]byte{"c1/eth0": hello, "host/trunk0": tagged(hello, vlan2)})
		_, err := n.Move(context.Background(), to("c0", vlan3, 0))
		g.Expect(err).NotTo(HaveOccurred())
		late := newFrame(clientMAC(1), clientMAC(0))
		tt.expect(t, "c1/eth0", late, map[string][]byte{"host/trunk0": tagged(late, vlan2)})
		gone := newFrame(workerMAC(0), clientMAC(0))
		tt.expect(t, "host/trunk0", tagged(gone, vlan2), map[string][]byte{"c1/eth0": gone})
	})
}

func TestMoveToTheSameVLANChangesNothing(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		n := lay(t, newPlan(t, kind, vlan2, vlan2, vlan2))
		tt := openTaps(t, n)
		hello := newFrame(clientMAC(0), broadcast)
		tt.expect(t, "c0/eth0", hello, map[string][]byte{"c1/eth0": hello, "c2/eth0": hello, "host/trunk0": tagged(hello, vlan2)})
		w, err := n.Move(context.Background(), to("c0", vlan2, 0))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(w.End).To(Equal(w.Start))
		known := newFrame(clientMAC(1), clientMAC(0))
		tt.expect(t, "c1/eth0", known, map[string][]byte{"c0/eth0": known})
	})
}

func TestMoveRefusesNonsense(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		n := lay(t, newPlan(t, kind, vlan2))
		for _, m := range []struct {
			move Move
			says string
		}{
			{to("c9", vlan3, 0), "no such client"},
			{to("c0", VLAN{Protocol: probe.Dot1Q, VID: 4095}, 0), "VLAN 4095 is not within"},
			{to("c0", VLAN{Protocol: 0x9100, VID: 3}, 0), "protocol 0x9100"},
			{to("c0", vlan3, 2), "no such trunk"},
		} {
			_, err := n.Move(context.Background(), m.move)
			g.Expect(err).To(MatchError(ContainSubstring(m.says)))
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := n.Move(ctx, to("c0", vlan3, 0))
		g.Expect(err).To(MatchError(context.Canceled))
		g.Expect(n.plan.Clients[0].VLAN).To(Equal(vlan2))
	})
}

// c0 and c1 move from VLAN to VLAN together, 200 times, while one sends to the
// other over a single TCP connection.
func TestMoveKeepsAddressesCarrierAndTCP(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		g := NewWithT(t)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		n := lay(t, newPlan(t, kind, vlan2, vlan2))
		before := byName(t, n)

		client, server := connect(ctx, t, n)
		echoed := make(chan error, 1)
		go func() {
			_, err := io.Copy(server, server)
			echoed <- err
		}()
		var took []time.Duration
		for i := range 100 {
			vlan := []VLAN{vlan3, vlan2}[i%2]
			for _, c := range []string{"c0", "c1"} {
				w, err := n.Move(ctx, Move{c, at(0, vlan)})
				g.Expect(err).NotTo(HaveOccurred())
				took = append(took, time.Duration(w.End-w.Start))
			}
			line := fmt.Sprintf("move %d\n", i)
			_, err := io.WriteString(client, line)
			g.Expect(err).NotTo(HaveOccurred())
			back := make([]byte, len(line))
			_, err = io.ReadFull(client, back)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(back)).To(Equal(line))
		}
		g.Expect(client.Close()).To(Succeed())
		g.Eventually(ctx, echoed).Should(Receive(BeNil()))

		after := byName(t, n)
		for name, was := range before {
			g.Expect(after[name].Addresses).To(Equal(was.Addresses), name)
			g.Expect(after[name].CarrierChanges).To(Equal(was.CarrierChanges), name)
			g.Expect(after[name].Carrier).To(Equal(was.Carrier), name) // the kernel's own, such as gre0, never have one
		}
		slices.Sort(took)
		t.Logf("%d moves: window p50 %v, p99 %v", len(took), took[len(took)/2], took[len(took)*99/100])
	})
}

// connect opens a TCP connection from c1 to c0.
func connect(ctx context.Context, t *testing.T, n *Network) (client, server net.Conn) {
	t.Helper()
	g := NewWithT(t)
	var l net.Listener
	g.Expect(n.node("c0").do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp4", clientIP(0).String()+":0")
		return err
	})).To(Succeed())
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	g.Expect(n.node("c1").do(func() (err error) {
		client, err = new(net.Dialer).DialContext(ctx, "tcp4", l.Addr().String())
		return err
	})).To(Succeed())
	g.Eventually(ctx, accepted).Should(Receive(&server))
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}
