package demux_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// BenchmarkWorkerMadeAgain tells how long it takes from the moment when a worker that was deleted is there and up again until
// a frame of each of its clients reaches it: attached-ms is the demux's part, served-ms includes frames of all clients, sent in turn.
func BenchmarkWorkerMadeAgain(b *testing.B) {
	for _, mode := range []demux.AttachMode{demux.AttachTCX, demux.AttachClsact} {
		for _, clients := range []int{1, 1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", mode, clients), func(b *testing.B) { benchmarkWorkerMadeAgain(b, mode, clients) })
		}
	}
}

func benchmarkWorkerMadeAgain(b *testing.B, mode demux.AttachMode, clients int) {
	g := NewWithT(b)
	nettest.Enter(b)
	path := nettest.BPFFS(b)
	nettest.Veth(b, "trunk0", "sw0")
	nettest.Veth(b, "w0", "p0")
	sw := nettest.Open(b, "sw0")
	d, err := demux.Load(demux.Options{PinPath: path, Capacity: clients, Attach: mode})
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	_, err = d.AttachTrunk("trunk0", false)
	g.Expect(err).NotTo(HaveOccurred())
	var list []demux.Assignment
	var frames [][]byte
	for n := range clients {
		list = append(list, demux.Assignment{MAC: mac(n), Worker: "w0"})
		frames = append(frames, fromClient(n, tag(5)).Bytes())
	}
	g.Expect(d.AssignAll(list)).To(Succeed())
	changes, stop := follow(b, d)
	defer stop()

	var attached, served []float64
	for b.Loop() {
		nettest.Delete(b, "w0")
		g.Expect((<-changes).What).To(Equal("gone"))
		g.Expect(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "w0", MTU: 9000}, PeerName: "p0"})).To(Succeed())
		worker, far := linkOf(b, "w0"), linkOf(b, "p0")
		g.Expect(netlink.LinkSetUp(far)).To(Succeed())
		come := sendersAt(b, far)
		g.Expect(netlink.LinkSetUp(worker)).To(Succeed())
		began := time.Now()
		for end := time.Now().Add(time.Minute); come(false) < clients; {
			if time.Now().After(end) {
				b.Fatalf("frames of %d of %d clients come, and the worker is %v", come(false), clients, d.Workers())
			}
			for _, frame := range frames {
				g.Expect(sw.SendRaw(nettest.GSO{}, frame)).To(Succeed())
			}
		}
		served = append(served, time.Since(began).Seconds()*1e3)
		change := <-changes
		for change.What != "attached" && change.What != "up" {
			change = <-changes
		}
		attached = append(attached, max(0, change.at.Sub(began).Seconds()*1e3))
		come(true)
	}
	for unit, times := range map[string][]float64{"attached-ms": attached, "served-ms": served} {
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2], unit)
		b.ReportMetric(times[len(times)-1], "max-"+unit)
	}
}

func linkOf(b *testing.B, name string) netlink.Link {
	link, err := netlink.LinkByName(name)
	NewWithT(b).Expect(err).NotTo(HaveOccurred())
	return link
}

// sendersAt counts the source addresses of what comes in at the interface.
func sendersAt(b *testing.B, link netlink.Link) func(end bool) int {
	g := NewWithT(b)
	const all = uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})).To(Succeed())
	g.Expect(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20)).To(Succeed())
	senders, frame := make(map[demux.MAC]bool), make([]byte, 2048)
	return func(end bool) int {
		for {
			n, _, err := unix.Recvfrom(fd, frame, 0)
			if err != nil || n < 12 {
				break
			}
			if source := demux.MAC(frame[6:12]); source[0] == 2 && source[1] == 0 {
				senders[source] = true
			}
		}
		if end {
			g.Expect(unix.Close(fd)).To(Succeed())
		}
		return len(senders)
	}
}

type changeAt struct {
	demux.Change
	at time.Time
}

// follow has the demux follow the interfaces of the test's namespaces.
func follow(b *testing.B, d *demux.Demux) (<-chan changeAt, func()) {
	g := NewWithT(b)
	network, err := os.Open("/proc/thread-self/ns/net")
	g.Expect(err).NotTo(HaveOccurred())
	mounts, err := os.Open("/proc/thread-self/ns/mnt")
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(b.Context())
	changes, started, ended := make(chan changeAt, 100), make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with its namespaces
		err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS), unix.Setns(int(network.Fd()), unix.CLONE_NEWNET))
		if err == nil {
			err = d.Follow(ctx, demux.FollowOptions{
				Looked:     sync.OnceFunc(func() { close(started) }),
				Changed:    func(change demux.Change) { changes <- changeAt{change, time.Now()} },
				Overflowed: func() {},
			})
		}
		ended <- err
	}()
	<-started
	return changes, func() {
		cancel()
		g.Expect(<-ended).To(Succeed())
		g.Expect(errors.Join(network.Close(), mounts.Close())).To(Succeed())
	}
}
