package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel says of a list that it changed while it was read: the follower lists again and goes on.
func TestFollowsWhileInterfacesComeAndGo(t *testing.T) {
	newBed(t)
	g := NewWithT(t)
	for i := range 100 { // the list takes several messages
		g.Expect(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("d", i)}, PeerName: fmt.Sprint("e", i)})).To(Succeed())
	}
	handle := func() *netlink.Handle {
		net, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(net.Close)
		return net
	}
	churn, end, ended := handle(), make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
			link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "passing"}, PeerName: "passed"}
			if err := churn.LinkAdd(link); err != nil {
				ended <- err
				return
			}
			if err := churn.LinkDel(link); err != nil {
				ended <- err
				return
			}
		}
	}()
	f := follower{plane: &fakePlane{}, net: handle(), log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		g.Expect(f.once(ctx, cancel)).To(Succeed())
		cancel()
	}
	close(end)
	g.Expect(<-ended).To(Succeed())
}
