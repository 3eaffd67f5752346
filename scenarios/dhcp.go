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
	want := fmt.Sprintf("lease of %s obtained from %s", clientPrefix(IPv4).Addr(), workerPrefix(IPv4).Addr())
	r.ask(ctx, "DHCP, IP range", []string{"/dhcp", "client"}, func(_ int, output string, status int) error {
		if status != 0 || !strings.Contains(output, want) {
			return fmt.Errorf("it ended with status %d, want 0 and %q in what it wrote", status, want)
		}
		return nil
	})
}

// ask waits until the image of each worker has written that it is ready. Then each client runs a command at once, and what comes of it
// is checked, and every frame.
func (r *Run) ask(ctx context.Context, ready string, command []string, check func(client int, output string, status int) error) {
	window := r.OpenWindow(ctx)
	for _, w := range r.Lab.Topology.Workers {
		r.Eventually(func() (string, error) { return r.Lab.Logs(w.Name) }).WithContext(ctx).WithTimeout(time.Minute).
			Should(gomega.ContainSubstring(ready), "the server of %s is ready", w.Name)
	}
	var group errgroup.Group
	for i, c := range r.Lab.Topology.Clients {
		group.Go(func() error {
			output, status, err := r.Lab.Exec(ctx, c.Name, command...)
			fmt.Fprintf(r.Out, "%s: %s", c.Name, output)
			if err == nil {
				err = check(i, output, status)
			}
			if err != nil {
				return fmt.Errorf("%s: %q: %w:\n%s", c.Name, command, err, output)
			}
			return nil
		})
	}
	r.Check(group.Wait())
	r.Close(ctx, window)
}
