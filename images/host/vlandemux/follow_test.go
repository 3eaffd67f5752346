package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// heldPlane tells the demux nothing until it is let go.
type heldPlane struct {
	*demux.Demux
	letGo chan struct{}
}

func (h heldPlane) Reconcile(changed []demux.Link, gone []int) ([]demux.Change, error) {
	<-h.letGo
	return h.Demux.Reconcile(changed, gone)
}

// A worker is made again while the kernel's messages overflow a tiny buffer: none says so, and it is found.
func TestFollowsOnAfterMessagesAreLost(t *testing.T) {
	b := newBed(t)
	g := NewWithT(t)
	plane, err := demux.Load(demux.Options{PinPath: b.bpffs})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(plane.Detach()).To(Succeed()) })
	_, err = plane.AttachTrunk("t0", false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(plane.Assign(client(1), "w0")).To(Succeed())
	handle := func() *netlink.Handle {
		net, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(net.Close)
		return net
	}
	held := heldPlane{plane, make(chan struct{})}
	f := follower{plane: held, net: handle(), log: quiet(t), buffer: 1}
	ctx, cancel := context.WithCancel(t.Context())
	started, ended, host := make(chan struct{}), make(chan error, 1), handle()
	go func() {
		defer cancel()
		<-started
		ended <- func() error {
			old, err := host.LinkByName("w0")
			if err == nil {
				err = host.LinkDel(old)
			}
			for i := range 50 {
				passing := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "passing"}, PeerName: fmt.Sprint("passed", i)}
				if err == nil {
					err = host.LinkAdd(passing)
				}
				if err == nil {
					err = host.LinkDel(passing)
				}
			}
			again := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "w0", Flags: net.FlagUp}, PeerName: "w0p"}
			if err == nil {
				err = host.LinkAdd(again)
			}
			if err != nil {
				return err
			}
			peer, err := host.LinkByName("w0p")
			if err == nil {
				err = host.LinkSetUp(peer)
			}
			if err != nil {
				return err
			}
			close(held.letGo)
			for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
				worker := plane.Workers()[0]
				if now, err := host.LinkByName("w0"); err == nil && worker.Index == now.Attrs().Index && !worker.Down {
					return nil
				}
			}
			return fmt.Errorf("the demux has %+v", plane.Workers())
		}()
	}()
	g.Expect(f.follow(ctx, func() { close(started) })).To(Succeed())
	g.Expect(<-ended).To(Succeed())
	g.Expect(f.state().Overflows).NotTo(BeZero())
	g.Expect(f.state().LastOverflow).To(BeTemporally("~", time.Now(), patience))
	request := frame(gateway, client(1).String(), "request")
	worker := b.port("w0p")
	b.port("t1").send(tagged(request, 12))
	g.Expect(worker.receive()).To(Equal(request))
}
