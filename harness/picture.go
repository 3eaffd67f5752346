package harness

import (
	"cmp"
	"fmt"
	"html"
	"net/netip"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// Columns and rows of a picture, in pixels at its natural size.
const (
	pictureWidth = 960
	boxWidth     = 216
	boxHeight    = 70
	rowHeight    = 82
	switchAt     = 340 // left edges
	hostAt       = 560
	workersAt    = pictureWidth - boxWidth - 1
	tallWidth    = 84 // of switch and host
	shownBoxes   = 12 // clients, and workers; of more, the last box says how many
)

// SVG draws the lab: a box for each container, a line for each link, with ports, VLANs and MACs. notes
// are shown below the names of nodes, "switch" and "host" among them, such as their containers' names; nil is none.
// It is one element for any HTML page, in the page's own colour. Its classes are "node", "link" and "k0" to "k7",
// which clients have in common with their worker.
func (t Topology) SVG(notes map[string]string) string {
	t = t.withDefaults()
	p := &picture{notes: notes, colours: map[string]int{}}
	for i, w := range t.Workers {
		p.colours[w.Name] = i % 8
	}
	rows := max(min(len(t.Clients), shownBoxes), min(len(t.Workers), shownBoxes), t.Trunks/2+1)
	height := rows * rowHeight
	fmt.Fprintf(&p.w, `<svg class="topology" xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" `+
		`font-family="inherit" font-size="13" fill="none" stroke="currentColor">`,
		pictureWidth, height+2)
	fmt.Fprintf(&p.w, "<title>Topology: %d clients, a switch, %d trunks, the host with the demux, %d workers</title><desc>%s</desc>",
		len(t.Clients), t.Trunks, len(t.Workers), html.EscapeString(t.describe()))
	p.clients(t, height)
	p.workers(t, height)
	for i := range t.Trunks {
		y := height * (i + 1) / (t.Trunks + 1)
		p.link("", switchAt+tallWidth, hostAt, y, topology.TrunkName(i), "tagged")
	}
	p.box("", switchAt, 1, tallWidth, height, "switch", "", notes["switch"])
	p.box("", hostAt, 1, tallWidth, height, "host", "", "demux", notes["host"])
	p.w.WriteString("</svg>")
	return p.w.String()
}

// describe is the picture in words.
func (t Topology) describe() string {
	var text []string
	for _, c := range t.Clients[:min(len(t.Clients), shownBoxes)] {
		text = append(text, fmt.Sprintf("%s, %s, plugged in at %s, assigned to %s.", c.Name, c.MAC, c.Place, cmp.Or(c.Worker, "nobody")))
	}
	if more := len(t.Clients) - shownBoxes; more > 0 {
		text = append(text, fmt.Sprintf("%d clients more.", more))
	}
	return strings.Join(text, " ")
}

// picture is one SVG that is being drawn.
type picture struct {
	w       strings.Builder
	notes   map[string]string
	colours map[string]int // by worker
}

func (p *picture) clients(t Topology, height int) {
	p.column(len(t.Clients), height, func(i, y int) {
		c := t.Clients[i]
		p.link(p.class(c.Worker), boxWidth, switchAt, y, c.VLAN.String(), trunkOf(t, c))
		p.port(switchAt, y)
		p.box(p.class(c.Worker), 1, y-boxHeight/2, boxWidth, boxHeight, c.Name, "→ "+cmp.Or(c.Worker, "nobody"), c.MAC.String(), ofStack(c.Addresses, c.Image), p.notes[c.Name])
	}, func(more, y int) {
		p.box("more", 1, y-boxHeight/2, boxWidth, boxHeight, fmt.Sprintf("%d clients more", more), "")
	})
}

func (p *picture) workers(t Topology, height int) {
	p.column(len(t.Workers), height, func(i, y int) {
		w := t.Workers[i]
		under := w.Kind
		if w.MTU != 0 {
			under = strings.TrimSpace(fmt.Sprintf("%s MTU %d", under, w.MTU))
		}
		p.link(p.class(w.Name), hostAt+tallWidth, workersAt, y, w.Name, under)
		p.port(hostAt+tallWidth, y)
		where := ""
		if w.InHost {
			where = "in the host"
		}
		p.box(p.class(w.Name), workersAt, y-boxHeight/2, boxWidth, boxHeight, w.Name, where, w.MAC.String(), ofStack(w.Addresses, w.Image), p.notes[w.Name])
	}, func(more, y int) {
		p.box("more", workersAt, y-boxHeight/2, boxWidth, boxHeight, fmt.Sprintf("%d workers more", more), "")
	})
}

// column calls draw for each of n boxes with the middle of its place, or elide for those that are too many.
func (p *picture) column(n, height int, draw, elide func(i, y int)) {
	shown := min(n, shownBoxes)
	for i := range shown {
		y := 1 + height*(2*i+1)/(2*shown)
		if i == shownBoxes-1 && n > shownBoxes {
			elide(n-i, y)
			return
		}
		draw(i, y)
	}
}

func trunkOf(t Topology, c Client) string {
	if t.Trunks == 1 {
		return ""
	}
	return topology.TrunkName(c.Trunk)
}

func (p *picture) class(worker string) string {
	if i, there := p.colours[worker]; there {
		return fmt.Sprintf("k%d", i)
	}
	return ""
}

// ofStack is the third line of a client's or worker's box.
func ofStack(addresses []netip.Prefix, image *Image) string {
	var parts []string
	if len(addresses) > 0 {
		parts = append(parts, addresses[0].String())
	}
	if len(addresses) > 1 {
		parts = append(parts, fmt.Sprintf("and %d more", len(addresses)-1))
	}
	if image != nil {
		parts = append(parts, image.Name)
	}
	return strings.Join(parts, " · ")
}

// link is a line with text above and below.
func (p *picture) link(class string, from, to, y int, above, below string) {
	fmt.Fprintf(&p.w, `<g class="link %s"><path d="M%d %dH%d"/>`, class, from, y, to)
	for _, t := range []struct {
		text string
		y    int
	}{{above, y - 5}, {below, y + 15}} {
		if t.text != "" {
			fmt.Fprintf(&p.w, `<text x="%d" y="%d" text-anchor="middle" fill="currentColor" stroke="none" font-size="12">%s</text>`, (from+to)/2, t.y, html.EscapeString(t.text))
		}
	}
	p.w.WriteString("</g>")
}

// port is where a link meets the switch or the host.
func (p *picture) port(x, y int) {
	fmt.Fprintf(&p.w, `<rect class="port" x="%d" y="%d" width="8" height="8" fill="currentColor"/>`, x-4, y-4)
}

// box is a node: its name, a word at the right of it, and lines below.
func (p *picture) box(class string, x, y, width, height int, name, right string, lines ...string) {
	fmt.Fprintf(&p.w, `<g class="node %s"><rect x="%d" y="%d" width="%d" height="%d" rx="5"/>`, class, x, y, width, height)
	tall := width == tallWidth
	at, anchor, top := x+9, "start", y+17
	if tall {
		at, anchor, top = x+width/2, "middle", y+height/2-8
	}
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	fmt.Fprintf(&p.w, `<text x="%d" y="%d" text-anchor="%s" fill="currentColor" stroke="none" font-weight="600">%s</text>`, at, top, anchor, html.EscapeString(name))
	if right != "" {
		fmt.Fprintf(&p.w, `<text x="%d" y="%d" text-anchor="end" fill="currentColor" stroke="none" font-size="12">%s</text>`, x+width-9, top, html.EscapeString(right))
	}
	for i, line := range lines {
		fmt.Fprintf(&p.w, `<text x="%d" y="%d" text-anchor="%s" fill="currentColor" stroke="none" font-size="12">%s</text>`, at, top+16*(i+1), anchor, html.EscapeString(fit(line, width)))
	}
	p.w.WriteString("</g>")
}

func fit(line string, width int) string {
	most := (width - 12) * 10 / 68
	if runes := []rune(line); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return line
}
