package scenarios

import (
	"context"
	"fmt"
	"strings"

	"github.com/vlandemux/vlandemux/harness"
)

// Servers runs programs of Debian's in clients and workers.
func Servers() Scenario {
	s := Scenario{
		Name:    "servers",
		Summary: "Clients of one address, with programs that people use, each talk to the server of their own worker.",
		Labels:  []string{"servers"},
	}
	leased := clientPrefix(IPv4).Addr().String()
	// What a worker's server gives is its own, and tells which it is: $N is the worker's number, from 0.
	for _, x := range []server{
		{
			text: "busybox leases the address of all from dnsmasq", ready: "DHCP, IP range", // for 3600 s from one, for 3610 s from the other
			serve: "exec /usr/sbin/dnsmasq --no-daemon --user= --port=0 --interface=eth0 --leasefile-ro --no-ping --dhcp-authoritative " +
				"--dhcp-range=" + leased + "," + leased + ",36${N}0",
			ask:    "exec busybox udhcpc -i eth0 -f -q -n -s /bin/busybox", // the script fails: nothing is configured
			answer: "lease of " + leased + " obtained from " + workerPrefix(IPv4).Addr().String() + ", lease time 36%d0\n", leases: true,
		},
		{
			text: "busybox asks dnsmasq for a name", ready: "started",
			serve: "exec /usr/sbin/dnsmasq --no-daemon --user= --no-resolv --no-hosts --address=/device.lab/10.0.0.10$N",
			ask:   "exec busybox nslookup -type=a device.lab $SERVER", answer: "Address: 10.0.0.10%d\n",
		},
		{
			text: "busybox loads a file from dnsmasq by TFTP", ready: "TFTP root",
			serve: "mkdir -p /srv; yes boot$N | head -c 60000 >/srv/kernel; exec /usr/sbin/dnsmasq --no-daemon --user= --port=0 --enable-tftp --tftp-root=/srv",
			ask:   "busybox tftp -g -r kernel -l /kernel $SERVER; wc -c </kernel; uniq -c /kernel", answer: "60000\n  10000 boot%d\n",
		},
		{
			text: "curl fetches a page of nginx", ready: "using the",
			serve: `mkdir -p /etc /srv /var/lib/nginx; echo root:x:0:0::/: >/etc/passwd; echo root:x:0: >/etc/group; echo page $N >/srv/page
echo 'daemon off; master_process off; user root; pid /run/pid; error_log stderr notice; events {} http { access_log off; server { listen 80; root /srv; } }' >/etc/conf
exec /usr/sbin/nginx -e stderr -c /etc/conf`,
			ask: "exec /usr/bin/curl --silent --show-error --fail http://$SERVER/page", answer: "page %d\n",
		},
		{
			text: "iperf3 sends a megabyte each way", ready: "Server listening",
			serve: "mkdir -p /tmp; exec /usr/bin/iperf3 --server --forceflush",
			ask:   "mkdir -p /tmp; for way in --get-server-output --reverse; do /usr/bin/iperf3 --client $SERVER --bytes 1M $way; done; echo both $?", answer: "both 0\n",
		},
	} {
		s.Cases = append(s.Cases, Case{Text: x.text, Servers: true, Topology: x.topology, Run: x.run})
	}
	return s
}

// server is a program that serves, and one that asks it.
type server struct {
	text   string
	serve  string // a shell's script
	ready  string // what the server writes when it serves
	ask    string // a shell's script; $SERVER is the server's address
	answer string // what that has to write; %d is the worker's number
	leases bool   // the client has no address before
}

func (x server) topology(v Variant) harness.Topology {
	t := rack(v, 2)
	node := func(n int, script string) *harness.Image {
		return &harness.Image{
			Name: v.ServersImage, NetAdmin: x.leases, Command: []string{"/bin/busybox", "sh", "-c", script},
			Environment: []string{fmt.Sprintf("N=%d", n), "SERVER=" + workerPrefix(IPv4).Addr().String()},
		}
	}
	for i := range t.Clients {
		t.Clients[i].Image = node(i, "exec busybox sleep 3600")
		t.Workers[i].Image = node(i, x.serve)
		if x.leases {
			t.Clients[i].Addresses = nil
		}
	}
	return t
}

func (x server) run(ctx context.Context, r *Run) {
	r.ask(ctx, x.ready, []string{"/bin/busybox", "sh", "-c", x.ask}, func(client int, output string, _ int) error {
		if want := strings.ReplaceAll(x.answer, "%d", fmt.Sprint(client)); !strings.Contains(output, want) {
			return fmt.Errorf("want %q in what it wrote", want)
		}
		return nil
	})
}
