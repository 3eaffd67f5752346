package ledger_test

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/ledger"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
	"github.com/vlandemux/vlandemux/harness/internal/traffic"
)

// sim is a small lab in one goroutine: bytes travel, tags are pushed and popped in
// them, and every hop takes a random time, so that frames overtake each other, meet
// moves half-way, and stamps of incoming frames are older than the moment a tap saw
// them. It knows nothing of the ledger's model.
type sim struct {
	rng    *rand.Rand
	lab    ledger.Setup
	now    int64
	queue  events
	serial int
	due    map[string]int64 // when the latest of a flow is due at a tap
	seen   map[string][]probe.Sighting
	sent   []ledger.Sent

	port    map[string]string               // client → place, "" while it is moved
	learned map[string]map[probe.MAC]string // place → MAC → client or "trunk"
	worker  map[probe.MAC]string
	located map[probe.MAC]location
	down    map[string]bool          // trunks
	counted map[string]control.Tally // "rx MAC", "dropped reason", …
	before  control.Counters
	events  []control.Event

	// demuxed is called with each frame the demux is about to send: a fault can
	// change, drop or double it. Optional.
	demuxed func(tap string, data []byte) []copyOf
}

type copyOf struct {
	tap  string
	data []byte
}

type location struct {
	trunk string
	tag   []byte
}

type event struct {
	at     int64
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

const epoch = int64(1_700_000_000_000_000_000)

func newSim(seed uint64, lab ledger.Setup) *sim {
	s := &sim{
		rng: rand.New(rand.NewPCG(seed, 1)), lab: lab, now: epoch, seen: map[string][]probe.Sighting{}, due: map[string]int64{},
		port: map[string]string{}, learned: map[string]map[probe.MAC]string{}, worker: map[probe.MAC]string{},
		located: map[probe.MAC]location{}, down: map[string]bool{}, counted: map[string]control.Tally{},
	}
	for _, c := range lab.Clients {
		s.port[c.Name] = placeName(c.Place)
	}
	maps.Copy(s.worker, lab.Assignments)
	for _, m := range lab.Moves {
		gone := m.Start + s.rng.Int64N(m.End-m.Start)
		s.at(gone, func() {
			s.leavePlace(m.Client, seed%3 == 0)
		})
		s.at(gone+s.rng.Int64N(m.End-gone), func() { s.port[m.Client] = placeName(m.To) })
	}
	for _, c := range lab.Changes {
		s.at(c.Start+s.rng.Int64N(c.End-c.Start), func() { s.assign(c.MAC, c.Worker) })
	}
	for _, c := range lab.TrunkChanges {
		s.at(c.Start+s.rng.Int64N(c.End-c.Start), func() { s.down[fmt.Sprintf("trunk%d", c.Trunk)] = !c.Up })
	}
	return s
}

// leavePlace unplugs a client. Some switches keep an empty VLAN, some do not.
func (s *sim) leavePlace(client string, forgetful bool) {
	place := s.port[client]
	s.port[client] = ""
	for mac, port := range s.learned[place] {
		if port == client {
			delete(s.learned[place], mac)
		}
	}
	for _, other := range s.port {
		if other == place {
			return
		}
	}
	if forgetful {
		delete(s.learned, place)
	}
}

func (s *sim) assign(mac probe.MAC, worker string) {
	if s.worker[mac] == "" || worker == "" {
		delete(s.located, mac)
		delete(s.counted, "rx "+mac.String())
		delete(s.counted, "tx "+mac.String())
	}
	s.worker[mac] = worker
}

func (s *sim) at(t int64, do func()) {
	s.serial++
	heap.Push(&s.queue, event{t, s.serial, do})
}

// soon is after some microseconds, as softirqs go. What frames with the same
// addresses do at one tap happens in order.
func (s *sim) soon(tap string, data []byte, do func()) {
	key := tap + string(data[:12])
	t := max(s.now+500+s.rng.Int64N(15_000), s.due[key]+1)
	s.due[key] = t
	s.at(t, do)
}

// run lets everything happen that is due.
func (s *sim) run() {
	for s.queue.Len() > 0 {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
	}
}

// send gives a batch to a tap, a frame each gap nanoseconds from start on.
func (s *sim) send(tap string, start, gap int64, b probe.Batch) {
	r := traffic.BatchReport{Name: b.Name, ID: b.ID}
	for i := range b.Packets() {
		for _, data := range b.Frames(i) {
			data = slices.Clone(data)
			s.at(start+int64(r.Frames)*gap, func() { s.out(tap, data) })
			r.Frames++
			r.Octets += uint64(len(data))
		}
	}
	s.sent = append(s.sent, ledger.Sent{Tap: tap, Batch: b, Report: r})
}

func (s *sim) out(tap string, data []byte) {
	s.record(tap, probe.Out, data, s.now)
	s.soon(tap, data, func() { s.in(s.peer(tap), data) })
}

func (s *sim) in(tap string, data []byte) {
	s.record(tap, probe.In, data, s.now-s.rng.Int64N(4000))
	node, port, _ := strings.Cut(tap, "/")
	switch {
	case node == "switch":
		s.soon(tap, data, func() { s.bridge(port, data) })
	case node == "host" && strings.HasPrefix(port, "trunk"):
		s.soon(tap, data, func() { s.fromTrunk(port, data) })
	case node == "host":
		s.soon(tap, data, func() { s.fromWorker(port, data) })
	}
}

func (s *sim) peer(tap string) string {
	node, port, _ := strings.Cut(tap, "/")
	switch {
	case node == "switch" && strings.HasPrefix(port, "trunk"):
		return "host/" + port
	case node == "switch", node == "host" && !strings.HasPrefix(port, "trunk"):
		return port + "/eth0"
	case node == "host":
		return "switch/" + port
	case strings.HasPrefix(node, "w"):
		return "host/" + node
	}
	return "switch/" + node
}

func (s *sim) record(tap string, d probe.Direction, data []byte, stamp int64) {
	x := probe.Sighting{
		Fingerprint: probe.FingerprintOf(data), Time: stamp, Length: uint16(len(data)), Direction: d,
		Destination: probe.MAC(data[:6]), Source: probe.MAC(data[6:12]),
	}
	rest := data[12:]
	for len(rest) >= 4 && isTag(rest) {
		if int(x.TagCount) < len(x.Tags) {
			x.Tags[x.TagCount] = probe.Tag{Protocol: binary.BigEndian.Uint16(rest), TCI: binary.BigEndian.Uint16(rest[2:])}
		}
		x.TagCount++
		rest = rest[4:]
	}
	x.EtherType = binary.BigEndian.Uint16(rest)
	s.seen[tap] = append(s.seen[tap], x)
}

func isTag(b []byte) bool { return b[0] == 0x81 && b[1] == 0 || b[0] == 0x88 && b[1] == 0xa8 }

func pushTag(data, tag []byte) []byte { return slices.Concat(data[:12], tag, data[12:]) }
func popTag(data []byte) []byte       { return slices.Concat(data[:12], data[16:]) }

// tagBytes are those of a place, which is "trunk protocol VID".
func tagBytes(place string) (trunk string, tag []byte) {
	var protocol, vid uint16
	if _, err := fmt.Sscanf(place, "%s %d %d", &trunk, &protocol, &vid); err != nil {
		panic(err)
	}
	return trunk, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, protocol), vid)
}

func placeName(p topology.Place) string {
	return fmt.Sprintf("trunk%d %d %d", p.Trunk, p.VLAN.Protocol, p.VLAN.VID)
}

// bridge is what the switch does with a frame at one of its ports.
func (s *sim) bridge(port string, data []byte) {
	src, dst := probe.MAC(data[6:12]), probe.MAC(data[:6])
	trunk := strings.HasPrefix(port, "trunk")
	if trunk && !isTag(data[12:]) || src[0]&1 == 1 || src == (probe.MAC{}) || dst == (probe.MAC{1, 0x80, 0xc2, 0, 0, 1}) {
		return
	}
	place, from := s.port[port], port
	if trunk {
		place = fmt.Sprintf("%s %d %d", port, binary.BigEndian.Uint16(data[12:]), binary.BigEndian.Uint16(data[14:])&0xfff)
		data, from = popTag(data), "trunk"
	}
	var members []string
	for _, c := range s.lab.Clients {
		if s.port[c.Name] == place && place != "" {
			members = append(members, c.Name)
		}
	}
	if len(members) == 0 {
		return
	}
	if s.learned[place] == nil {
		s.learned[place] = map[probe.MAC]string{}
	}
	s.learned[place][src] = from
	targets := append([]string{"trunk"}, members...)
	if known := s.learned[place][dst]; known != "" && dst[0]&1 == 0 {
		targets = []string{known}
	}
	for _, t := range targets {
		switch t {
		case from:
		case "trunk":
			name, tag := tagBytes(place)
			s.soon("switch/"+name+" out", data, func() { s.out("switch/"+name, pushTag(data, tag)) })
		default:
			s.soon("switch/"+t+" out", data, func() { s.out("switch/"+t, data) })
		}
	}
}

func (s *sim) count(name string, octets int) {
	t := s.counted[name]
	s.counted[name] = control.Tally{Packets: t.Packets + 1, Bytes: t.Bytes + uint64(octets)}
}

func (s *sim) leave(tap string, data []byte) {
	copies := []copyOf{{tap, data}}
	if s.demuxed != nil {
		copies = s.demuxed(tap, data)
	}
	for _, c := range copies {
		s.soon(c.tap+" out", c.data, func() { s.out(c.tap, c.data) })
	}
}

// counters are what the demux would say now.
func (s *sim) counters() control.Counters {
	var c control.Counters
	for mac, w := range s.worker {
		if w != "" {
			c.Clients = append(c.Clients, control.ClientCounters{
				MAC: mac, Worker: w, Rx: s.counted["rx "+mac.String()], Tx: s.counted["tx "+mac.String()],
				Location: s.located[mac].listed(),
			})
		}
	}
	for _, w := range s.lab.Workers {
		c.Workers = append(c.Workers, control.WorkerCounters{Worker: w.Name, Flooded: s.counted["flooded "+w.Name]})
	}
	for _, r := range []string{"untagged", "invalid_source", "invalid_vlan", "unknown_client", "not_assigned", "unlearned", "tag_failed", "no_trunk"} {
		c.Drops = append(c.Drops, control.DropCounter{Reason: r, Tally: s.counted["dropped "+r]})
	}
	c.Passed = s.counted["passed untagged"]
	return c
}

// input is what a lab would hand to the ledger.
func (s *sim) input() *ledger.Input {
	in := &ledger.Input{Sent: s.sent, Before: s.before, After: s.counters(), Assignments: []control.Assignment{}}
	for mac, w := range s.worker {
		if w != "" {
			in.Assignments = append(in.Assignments, control.Assignment{Assignment: demux.Assignment{MAC: mac, Worker: w}, Location: s.located[mac].listed()})
		}
	}
	slices.SortFunc(in.Assignments, func(a, b control.Assignment) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	in.Events = func(func([]control.Event) bool) []control.Event { return s.events }
	var seen []iter.Seq2[int, probe.Sighting]
	for _, name := range s.lab.Taps() {
		in.Taps = append(in.Taps, ledger.Tap{Name: name, Report: report(name, len(s.seen[name]))})
		seen = append(seen, slices.All(s.seen[name]))
	}
	var joined bytes.Buffer
	if err := probe.WriteJourneys(&joined, seen); err != nil {
		panic(err)
	}
	in.Journeys = func(yield func([]probe.Step, error) bool) { probe.ReadJourneys(bytes.NewReader(joined.Bytes()))(yield) }
	return in
}

func report(tap string, frames int) probe.TapReport {
	n := uint64(frames)
	return probe.TapReport{Point: probe.TapPoint{Name: tap}, Frames: n, Packets: n, Read: n}
}
