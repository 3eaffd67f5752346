package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// place writes a location for people: "eth1 802.1Q 12".
func place(l *control.Location) string {
	if l == nil {
		return "not seen"
	}
	text := fmt.Sprintf("%s %s %d", l.Trunk, l.Protocol, l.VID)
	if l.PCP != 0 {
		text += fmt.Sprintf(" pcp %d", l.PCP)
	}
	if l.DEI {
		text += " dei"
	}
	return text
}

func writeCounters(w io.Writer, c control.Counters) error {
	clients := newTable(left("CLIENT"), left("WORKER"), left("LOCATION"),
		numbers("RX PACKETS"), numbers("RX BYTES"), numbers("TX PACKETS"), numbers("TX BYTES"))
	for _, client := range c.Clients {
		clients.add(client.MAC.String(), client.Worker, place(client.Location), count(client.Rx.Packets), count(client.Rx.Bytes),
			count(client.Tx.Packets), count(client.Tx.Bytes))
	}
	workers := newTable(left("WORKER"), numbers("FLOODED PACKETS"), numbers("FLOODED BYTES"))
	for _, worker := range c.Workers {
		workers.add(worker.Worker, count(worker.Flooded.Packets), count(worker.Flooded.Bytes))
	}
	drops := newTable(left("DROPPED"), numbers("PACKETS"), numbers("BYTES"))
	for _, drop := range c.Drops {
		drops.add(drop.Reason, count(drop.Packets), count(drop.Bytes))
	}
	p := printer{w: w}
	p.table(clients)
	p.line("")
	p.table(workers)
	p.line("")
	p.table(drops)
	p.line("")
	p.line("untagged, passed to the stack: %s packets, %s bytes", count(c.Passed.Packets), count(c.Passed.Bytes))
	if c.UnknownPassed.Packets+c.UnknownForwarded.Packets > 0 {
		p.line("of MACs without a worker: %s packets, %s bytes passed to the stack; %s packets, %s bytes given to the default worker",
			count(c.UnknownPassed.Packets), count(c.UnknownPassed.Bytes), count(c.UnknownForwarded.Packets), count(c.UnknownForwarded.Bytes))
	}
	if c.EventsLost > 0 {
		p.line("events lost: %s", count(c.EventsLost))
	}
	p.line("rx: from the client, tx: to the client. packets: frames on the wire. bytes: octets on the trunk with all tags, without FCS.")
	return p.err
}

// report is what `vlandemux status` shows.
type report struct {
	control.Status
	Assignments []control.Assignment `json:"assignments"`
}

// writeStatus prints a status; now is the time to count from.
func writeStatus(w io.Writer, r report, now time.Time) error {
	p := printer{w: w}
	p.line("vlandemux %s, PID %d, running for %s, kernel %s", r.Version, r.PID, time.Duration(r.UptimeSeconds)*time.Second, r.Kernel)
	pinned := "not pinned: the dataplane ends with its process"
	if r.BPFFS != "" {
		pinned = "pinned in " + r.BPFFS
	}
	limit := "no limit"
	if r.GroupLimit > 0 {
		limit = count(uint64(r.GroupLimit)) + "/s for each worker"
	}
	p.line("%s of %s MACs assigned, %s", count(uint64(r.Assigned)), count(uint64(r.Capacity)), pinned)
	unused := "kept"
	if r.AgeSeconds > 0 {
		unused = "forgotten after " + (time.Duration(r.AgeSeconds) * time.Second).String()
	}
	p.line("untagged frames: %s; of unknown MACs: %s; group frames: %s; unused locations: %s", r.Untagged, r.Unknown, limit, unused)
	p.line("")
	interfaces := newTable(left("INTERFACE"), left("ROLE"), numbers("IFINDEX"), left("ATTACHED"), left("STATE"), numbers("MTU"), left("REDIRECT"))
	for _, trunk := range r.Trunks {
		attached := trunk.Attach
		if trunk.EarlyDrop {
			attached += ", xdp"
		}
		interfaces.add(trunk.Name, "trunk", fmt.Sprint(trunk.Index), attached, trunk.State, fmt.Sprint(trunk.MTU), "")
	}
	for _, worker := range r.Workers {
		redirect := ""
		if worker.Peer {
			redirect = "peer"
		}
		interfaces.add(worker.Name, "worker", fmt.Sprint(worker.Index), worker.Attach, worker.State, fmt.Sprint(worker.MTU), redirect)
	}
	p.table(interfaces)
	for _, problem := range r.Problems {
		p.line("warning: %s", problem)
	}
	for _, i := range slices.Concat(r.Trunks, r.Workers) {
		for _, problem := range i.Problems {
			p.line("warning: %s", problem)
		}
	}
	if n := r.Following.Overflows; n > 0 {
		p.line("messages about interfaces overflowed %s times, last %s ago: all interfaces were looked at again", count(n),
			now.Sub(r.Following.LastOverflow).Round(time.Second))
	}
	p.line("")
	clients := newTable(left("CLIENT"), left("WORKER"), left("LOCATION"))
	for _, a := range r.Assignments {
		clients.add(a.MAC.String(), a.Target(), place(a.Location))
	}
	p.table(clients)
	unseen := 0
	for _, a := range r.Assignments {
		if a.Location == nil {
			unseen++
		}
	}
	if unseen > 0 {
		p.line("")
		p.line("%s of %s clients not seen: what a worker sends to one is dropped as unlearned until the client's first frame shows its VLAN, "+
			"or until its VLAN is told: vlandemux assign --move MAC=WORKER@TRUNK:VID.",
			count(uint64(unseen)), count(uint64(len(r.Assignments))))
	}
	return p.err
}

// timeOfDay is for lines about what happens, in local time.
const timeOfDay = "15:04:05.000000"

func writeEvent(w io.Writer, e control.Event) error {
	where := place(e.To)
	switch {
	case e.To == nil:
		where = place(e.From)
	case e.From != nil:
		where = place(e.From) + " -> " + where
	}
	if e.Merged > 1 {
		where += fmt.Sprintf("  (%s events)", count(uint64(e.Merged)))
	}
	p := printer{w: w}
	p.line("%s  %-11s  %s  %s", e.Time.Local().Format(timeOfDay), e.Type, e.MAC, where)
	return p.err
}

func writeDrop(w io.Writer, d control.Drop) error {
	where := d.Interface + " no VLAN"
	switch {
	case d.Place != nil && d.Place.Trunk == d.Interface:
		where = place(d.Place)
	case d.Place != nil:
		where = d.Interface + " -> " + place(d.Place)
	}
	frames := "1 frame"
	if d.Packets != 1 {
		frames = count(d.Packets) + " frames"
	}
	p := printer{w: w}
	p.line("%s  dropped    %-14s  %s  %s  %s", d.Time.Local().Format(timeOfDay), d.Reason, d.MAC, where, frames)
	return p.err
}

// writeJSON prints a value as JSON, on one line or indented.
func writeJSON(w io.Writer, value any, indent string) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", indent)
	return encoder.Encode(value)
}

// printer writes until the first error and remembers it.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, values ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", values...)
	}
}

func (p *printer) table(t *table) {
	p.err = errors.Join(p.err, t.write(p.w))
}
