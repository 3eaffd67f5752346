package scenarios

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness"
)

// DHCP lets every client lease the one address that its own worker has to give.
func DHCP() Scenario {
	return Scenario{
		Name:    "DHCP",
		Summary: "Clients lease one and the same address at the same time, each from the DHCP server of its own worker.",
		Labels:  []string{"dhcp"},
		Cases: []Case{{
			Text:     "leases one address to every client, each from its own worker",
			Topology: leasing,
			Run:      dhcp,
		}},
	}
}

// leasing has DHCP servers as images of its workers, and clients that have no address and
// wait to be told.
func leasing(v Variant) harness.Topology {
	offered, server := clientPrefix(IPv4).Addr().String(), workerPrefix(IPv4).Addr().String()
	t := rack(v, 2)
	for i := range t.Clients {
		t.Clients[i].Addresses = nil
		t.Clients[i].Image = &harness.Image{Name: v.Images.DHCP, Command: []string{"idle"}}
		t.Workers[i].Image = &harness.Image{Name: v.Images.DHCP, Command: []string{"server", server, offered}}
	}
	return t
}

func dhcp(ctx context.Context, r *Run) {
	offered, server := clientPrefix(IPv4).Addr(), workerPrefix(IPv4).Addr()
	window := r.OpenWindow(ctx)
	for _, w := range r.Lab.Topology.Workers {
		r.Eventually(func() (string, error) { return r.Lab.Logs(w.Name) }).WithContext(ctx).WithTimeout(time.Minute).
			Should(gomega.ContainSubstring("DHCP, IP range"), "the DHCP server of %s is ready", w.Name)
	}
	var group errgroup.Group
	for _, c := range r.Lab.Topology.Clients {
		ask := []string{"/dhcp", "client"}
		group.Go(func() error {
			output, status, err := r.Lab.Exec(ctx, c.Name, ask...)
			fmt.Fprintf(r.Out, "%s: %s", c.Name, output)
			if want := fmt.Sprintf("lease of %s obtained from %s", offered, server); err == nil && (status != 0 || !strings.Contains(output, want)) {
				err = fmt.Errorf("%s: %q ended with status %d, want %q in what it wrote:\n%s", c.Name, ask, status, want, output)
			}
			return err
		})
	}
	r.Check(group.Wait())
	r.Close(ctx, window)
}
