package harness

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
)

// Where says what each node is, in which container, and how people get in.
func (l *Lab) Where() string {
	var w strings.Builder
	table := tabwriter.NewWriter(&w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tWHAT\tCONTAINER\tIN ITS NETWORK, AS ROOT")
	for _, n := range l.Nodes() {
		fmt.Fprintf(table, "%s\t%s\t%s\tnsenter -t %d -n\n", n.Name, l.what(n.Name), n.Container, n.PID)
		if n == l.host {
			fmt.Fprintf(table, "switch\t%s\t\tnsenter --net=%s\n", l.Switch(), l.switchPath)
		}
	}
	table.Flush() //nolint:errcheck // a Builder takes everything
	last := l.Nodes()[len(l.Nodes())-1]
	fmt.Fprintf(&w, "on the engine's machine, %s; without root, with any image that has a shell:\n", l.pool.engine.Host())
	fmt.Fprintf(&w, "  docker run --rm -it --cap-add NET_ADMIN --network container:%s IMAGE sh\n", last.Container)
	if l.Topology.Demux.Contract == nil {
		fmt.Fprintf(&w, "  docker exec %s /vlandemux status        (counters, watch, --help)\n", l.host.Container)
	}
	for _, n := range l.Nodes() {
		if n.image != nil {
			fmt.Fprintf(&w, "  docker exec -it %s COMMAND        (the image of %s)\n", n.image.Name, n.Name)
		}
	}
	return w.String()
}

// what a node of the lab is.
func (l *Lab) what(name string) string {
	for _, c := range l.Topology.Clients {
		if c.Name == name {
			return fmt.Sprintf("client %s, %s, at %s, of %s", c.MAC, cmp.Or(ofStack(c.Addresses, c.Image), "no address"), c.Place, cmp.Or(c.Worker, "nobody"))
		}
	}
	for _, w := range l.Topology.Workers {
		if w.Name == name {
			return fmt.Sprintf("worker %s, %s", w.MAC, cmp.Or(ofStack(w.Addresses, w.Image), "no address"))
		}
	}
	return fmt.Sprintf("vlandemux, %d trunks", l.Topology.Trunks)
}
