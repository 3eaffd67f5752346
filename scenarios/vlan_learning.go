package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness"
)

// VLANLearning is the example the project started from, complete: clients with
// one and the same address on VLANs drawn at random, each served by the worker
// its MAC is assigned to, and counters that are right in both directions.
func VLANLearning() Scenario {
	return Scenario{
		Name:    "vlan learning",
		Summary: "Three clients with one IP address, on VLANs drawn at random, fetch pages from three workers with one IP address.",
		Labels:  []string{"demo"},
		Cases: []Case{{
			Text:     "answers each client from its own worker and counts every frame both ways",
			Topology: func(v Variant) harness.Topology { return example(v, 3) },
			Run:      vlanLearning,
		}},
	}
}

const requestsPerClient = 8

func vlanLearning(ctx context.Context, r *Run) {
	window := r.OpenWindow(ctx)
	window.AllowSockets()
	r.Step("each worker serves HTTP on port 80")
	out := &lines{w: r.Out}
	var servers []interface{ Close() error }
	port80 := netip.AddrPortFrom(workerPrefix(r.Family).Addr(), 80)
	served := make([]atomic.Int32, len(r.Lab.Topology.Workers))
	for i, w := range r.Lab.Topology.Workers {
		server, err := r.Lab.Worker(w.Name).ServeHTTP(ctx, harness.HTTPServeRequest{Listen: port80, Name: w.Name},
			func(seen harness.HTTPSeen) {
				served[i].Add(1)
				out.printf("%s  %s  %s - - %q %d octets\n", seen.Time.Format(time.TimeOnly), w.Name, seen.Remote.Addr(), seen.Method+" "+seen.Path, seen.Octets)
			})
		r.Check(err)
		servers = append(servers, server)
	}
	r.Step(fmt.Sprintf("each client fetches %d pages", requestsPerClient))
	reports := make([]harness.HTTPGetReport, len(r.Lab.Topology.Clients))
	var group errgroup.Group
	for i, c := range r.Lab.Topology.Clients {
		group.Go(func() (err error) {
			reports[i], err = r.Lab.Client(c.Name).HTTPGet(ctx, harness.HTTPGetRequest{URL: "http://" + port80.String() + "/", Count: requestsPerClient})
			return err
		})
	}
	r.Check(group.Wait())
	for i := range served {
		r.Eventually(served[i].Load).WithContext(ctx).WithTimeout(time.Minute).Should(gomega.BeEquivalentTo(requestsPerClient), "requests that worker %d saw", i)
	}
	for _, server := range servers {
		r.Check(server.Close())
	}
	for i, c := range r.Lab.Topology.Clients {
		r.Expect(reports[i].Replies).To(gomega.HaveLen(requestsPerClient), c.Name)
		for _, reply := range reports[i].Replies {
			r.Expect(reply.Status).To(gomega.Equal(200), c.Name)
			r.Expect(reply.Server).To(gomega.Equal(c.Worker), "%s was answered by another client's worker", c.Name)
		}
	}
	r.Close(ctx, window)

	r.Step("the demux's own counters")
	counters := r.Counters(ctx)
	for _, c := range counters.Clients {
		fmt.Fprintf(r.Out, "mac %s  rx %5d packets %8d bytes   tx %5d packets %8d bytes\n",
			c.MAC, c.Rx.Packets, c.Rx.Bytes, c.Tx.Packets, c.Tx.Bytes)
		r.Expect(c.Tx.Packets).To(gomega.BeNumerically(">", requestsPerClient), "%s: replies were not counted", c.MAC)
	}
	for _, d := range counters.Drops {
		r.Expect(d.Packets).To(gomega.BeZero(), "dropped as %s", d.Reason)
	}
	if r.Linger != nil {
		r.Linger(ctx)
	}
}

// lines lets several goroutines print whole lines.
type lines struct {
	mu sync.Mutex
	w  interface{ Write([]byte) (int, error) }
}

func (l *lines) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format, args...)
}
