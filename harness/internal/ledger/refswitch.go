package ledger

import (
	"slices"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// Why a frame leaves a part nowhere.
const (
	whyUntagged = "it had no tag"
	whySource   = "its source was no single station"
	whyPause    = "pause frames end at the switch"
	whyNoPort   = "no port was in that VLAN"
	whyFiltered = "its destination was where it came from"
	whyAlone    = "nobody else was there"
	whyMoving   = "its port was being moved"
)

func pause(mac probe.MAC) bool   { return mac == probe.MAC{0x01, 0x80, 0xc2, 0, 0, 0x01} }
func group(mac probe.MAC) bool   { return mac[0]&1 == 1 }
func station(mac probe.MAC) bool { return !group(mac) && mac != probe.MAC{} }

// refSwitch is the reference switch: for each place a learning bridge of the access
// ports there and the trunk.
type refSwitch struct {
	*history
	plan         *layout
	alternatives *alternatives
	buf          []uint64
	ids          []uint64
}

// refuses is the reason for a frame that the switch neither learns from nor
// forwards.
func (b *refSwitch) refuses(f *frame, p *pass) string {
	switch {
	case b.plan.of(p.side).role == switchEnd && !p.tags.vlan():
		return whyUntagged
	case !station(f.source):
		return whySource
	case pause(f.dest):
		return whyPause
	}
	return ""
}

// learn writes down where the switch saw the source of a frame. left says whether a
// sighting of the frame left on a trunk with that tag.
func (b *refSwitch) learn(f *frame, p *pass, outs []record) {
	if b.refuses(f, p) != "" {
		return
	}
	at := b.plan.of(p.side)
	if at.role == switchEnd {
		t := p.tags.outer()
		place := placeOf(at.index, t.Protocol, t.VID())
		r := b.entry(place, f.source)
		if b.inhabited(place, p) {
			r.write(viaTrunk, p.time, p.learnedBy)
		} else {
			r.maybe(viaTrunk, p.time, p.learnedBy)
		}
		return
	}
	port := uint64(at.index + 1)
	b.buf = b.ports[at.index].legal(p.time, p.learnedBy, b.buf[:0])
	for _, place := range b.buf {
		if place == nowhere {
			continue
		}
		if len(b.buf) == 1 || b.leftWith(place, outs) {
			b.entry(place, f.source).write(port, p.time, p.learnedBy)
		} else {
			b.entry(place, f.source).maybe(port, p.time, p.learnedBy)
		}
	}
}

// inhabited tells whether some port was at a place for certain.
func (b *refSwitch) inhabited(place uint64, p *pass) bool {
	for _, client := range b.atPlace[place] {
		if at, ok := b.ports[client].sole(p.time, p.doneBy); ok && at == place {
			return true
		}
	}
	return false
}

func (b *refSwitch) leftWith(place uint64, outs []record) bool {
	trunk := b.plan.out(switchEnd, trunkOf(place))
	for i := range outs {
		if outs[i].side == trunk && outs[i].tags.count > 0 && outs[i].tags.outer() == tagOf(place) {
			return true
		}
	}
	return false
}

// handle adds everything the switch may do with a frame to the alternatives.
func (b *refSwitch) handle(f *frame, p *pass) {
	if why := b.refuses(f, p); why != "" {
		b.alternatives.add(outcome{why: why})
		return
	}
	at := b.plan.of(p.side)
	if at.role == switchEnd {
		t := p.tags.outer()
		place := placeOf(at.index, t.Protocol, t.VID())
		if len(b.atPlace[place]) == 0 {
			b.alternatives.add(outcome{why: whyNoPort})
			return
		}
		b.forward(f, p, place, -1, p.tags.pop(), p.length-tagOctets)
		return
	}
	var places [8]uint64
	for _, place := range b.ports[at.index].legal(p.time, p.doneBy, places[:0]) {
		if place == nowhere {
			b.alternatives.add(outcome{why: whyMoving})
			continue
		}
		b.forward(f, p, place, at.index, p.tags, p.length)
	}
}

// forward is what the switch does within one place. tags and length are those of the frame at an
// access port, from the client it came from or -1 for the trunk.
func (b *refSwitch) forward(f *frame, p *pass, place uint64, from int, tags stack, length uint16) {
	if group(f.dest) {
		b.flood(p, place, from, tags, length)
		return
	}
	b.ids = b.entry(place, f.dest).legal(p.time, p.doneBy, b.ids[:0])
	flooded := false
	for _, id := range b.ids {
		switch {
		case id == viaTrunk && from < 0, id != 0 && id == uint64(from+1):
			b.alternatives.add(outcome{why: whyFiltered})
			continue
		case id == viaTrunk:
			b.alternatives.add(outcome{want: b.alternatives.one(b.toTrunk(place, tags, length))})
			continue
		case id != 0:
			there, gone := b.present(int(id-1), place, p)
			if slices.Contains(b.buf, nowhere) {
				b.alternatives.add(outcome{why: whyMoving})
			}
			if there {
				b.alternatives.add(outcome{want: b.alternatives.one(emission{side: b.plan.out(accessPort, int(id-1)), tags: tags, length: length})})
			}
			if !gone {
				continue
			}
		}
		if !flooded {
			b.flood(p, place, from, tags, length)
			flooded = true
		}
	}
}

// present tells whether a client's port can have been at a place, and whether it
// can have been elsewhere.
func (b *refSwitch) present(client int, place uint64, p *pass) (there, gone bool) {
	b.buf = b.ports[client].legal(p.time, p.doneBy, b.buf[:0])
	there = slices.Contains(b.buf, place)
	return there, !there || len(b.buf) > 1
}

func (b *refSwitch) toTrunk(place uint64, tags stack, length uint16) emission {
	return emission{side: b.plan.out(switchEnd, trunkOf(place)), tags: tags.push(tagOf(place)), length: length + tagOctets}
}

// flood is a copy to everyone at the place but where the frame came from.
func (b *refSwitch) flood(p *pass, place uint64, from int, tags stack, length uint16) {
	var unsure [8]int
	moving := unsure[:0]
	start := b.alternatives.mark()
	if from >= 0 {
		b.alternatives.emit(b.toTrunk(place, tags, length))
	}
	for _, client := range b.atPlace[place] {
		if client == from {
			continue
		}
		there, gone := b.present(client, place, p)
		if there && gone {
			moving = append(moving, client)
		} else if there {
			b.alternatives.emit(emission{side: b.plan.out(accessPort, client), tags: tags, length: length})
		}
	}
	want := b.alternatives.since(start)
	start = b.alternatives.mark()
	for _, client := range moving {
		b.alternatives.emit(emission{side: b.plan.out(accessPort, client), tags: tags, length: length})
	}
	o := outcome{want: want, may: b.alternatives.since(start)}
	if len(want) == 0 {
		o.why = whyAlone
		if from < 0 {
			o.why = whyNoPort
		}
	}
	b.alternatives.add(o)
}
