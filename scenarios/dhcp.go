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
// wait to be told: two pairs run the project's program, and two more dnsmasq and busybox where an
// image of them was made (DHCP_IMAGE).
func leasing(v Variant) harness.Topology {
	offered, server := clientPrefix(IPv4).Addr().String(), workerPrefix(IPv4).Addr().String()
	t := rack(v, 2)
	if v.DHCPImage != "" {
		t = rack(v, 4)
	}
	for i := range t.Clients {
		t.Clients[i].Addresses = nil
		if i < 2 {
			t.Clients[i].Image = &harness.Image{Name: v.Images.DHCP, Command: []string{"idle"}}
			t.Workers[i].Image = &harness.Image{Name: v.Images.DHCP, Command: []string{"server", server, offered}}
			continue
		}
		t.Clients[i].Image = &harness.Image{Name: v.DHCPImage, Command: []string{"/bin/busybox", "sleep", "3600"}}
		t.Workers[i].Image = &harness.Image{Name: v.DHCPImage, NetAdmin: true, Command: []string{"/usr/sbin/dnsmasq", "--no-daemon", "--port=0", "--interface=eth0",
			"--user=", "--leasefile-ro", "--no-ping", "--dhcp-authoritative", "--dhcp-range=" + offered + "," + offered + ",255.255.255.0,1h"}}
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
	for i, c := range r.Lab.Topology.Clients {
		ask := []string{"/dhcp", "client"}
		if i >= 2 {
			ask = []string{"/bin/busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-s", "/bin/busybox"} // the script fails: nothing is configured
		}
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
