package demux_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// hold keeps a demux with pins from changing anything until letGo.
func hold(path string) (letGo func() error, err error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return folder.Close, unix.Flock(int(folder.Fd()), unix.LOCK_EX)
}

// churn makes and deletes an interface many times.
func churn(host *netlink.Handle) error {
	for i := range 10 {
		passing := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "passing"}, PeerName: fmt.Sprint("passed", i)}
		if err := errors.Join(host.LinkAdd(passing), host.LinkDel(passing)); err != nil {
			return err
		}
	}
	return nil
}

// A worker is made again while the kernel's messages overflow a tiny buffer: none says so, and it is found.
func TestFollowsOnAfterMessagesAreLost(t *testing.T) {
	nettest.Enter(t)
	path := nettest.BPFFS(t)
	b := startHere(t, demux.Options{PinPath: path})
	b.assign(mac(1), 0)
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	b.Expect(err).NotTo(HaveOccurred())
	defer host.Close()
	ctx, cancel := context.WithCancel(t.Context())
	started, ended, overflows := make(chan struct{}), make(chan error, 1), 0
	go func() {
		defer cancel()
		<-started
		letGo, err := hold(path)
		again := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "w0"}, PeerName: "p0"}
		err = errors.Join(err, host.LinkDel(again), churn(host), host.LinkAdd(again), letGo())
		for end := time.Now().Add(patience); err == nil && b.demux.Workers()[0].Index == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				err = errors.New("the worker was not attached again")
			}
		}
		ended <- err
	}()
	b.Expect(b.demux.Follow(ctx, demux.FollowOptions{
		Looked: sync.OnceFunc(func() { close(started) }), Changed: func(demux.Change) {}, Overflowed: func() { overflows++ }, Buffer: 1,
	})).To(Succeed())
	b.Expect(<-ended).To(Succeed())
	b.Expect(overflows).NotTo(BeZero())
}
