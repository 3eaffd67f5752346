package ledger

import (
	"slices"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// The demux's reasons for a drop, by the names its counters have.
const (
	dropUntagged      = "untagged"
	dropInvalidSource = "invalid_source"
	dropInvalidVLAN   = "invalid_vlan"
	dropUnknownClient = "unknown_client"
	dropNotAssigned   = "not_assigned"
	dropUnlearned     = "unlearned"
	dropTagFailed     = "tag_failed"
	dropNoWorker      = "no_worker"
	dropNoTrunk       = "no_trunk"
	dropTooLong       = "too_long"
	dropGroupLimit    = "group_limit"
	dropWrongPlace    = "wrong_place"
)

const whySevered = "its worker was going"

// dropReasons are those that frames of a lab can be dropped for. Any other must not
// be counted.
func dropReasons() []string {
	return []string{
		dropUntagged, dropInvalidSource, dropInvalidVLAN, dropUnknownClient, dropNotAssigned, dropUnlearned, dropTagFailed, dropNoWorker, dropNoTrunk,
		dropTooLong, dropGroupLimit, dropWrongPlace,
	}
}

type refDemux struct {
	*history
	plan         *layout
	alternatives *alternatives
	counters     *counters
	passUntagged bool
	passUnknown  bool
	groupLimit   int
	trunkMTU     int
	groups       map[int][]int64 // when group frames came, by worker
	unknown      int             // the worker of unknown MACs + 1
	values       []uint64
	workers      []uint64
	places       []uint64 // of a flood
	distinct     []uint64 // of them
	unsure       []uint64 // it may or may not find somebody at
}

func (d *refDemux) drop(reason string, p *pass) {
	d.alternatives.add(outcome{why: reason, entry: entry{counter: d.counters.drop(reason), frames: 1, octets: uint64(p.length)}})
}

func (d *refDemux) learn(f *frame, p *pass, outs []record) {
	at := d.plan.of(p.side)
	if at.role == workerPort && group(f.dest) {
		d.groups[at.index] = append(d.groups[at.index], p.time)
	}
	if at.role != trunkEnd || !p.tags.vlan() || !station(f.source) {
		return
	}
	t := p.tags.outer()
	mac, known := d.macs[f.source]
	if !known || t.VID() == 4095 || cutBehindTag(f, p) {
		return
	}
	place := placeOf(at.index, t.Protocol, t.TCI)
	worker, sure := d.assigned[mac].sole(p.time, p.doneBy)
	left := slices.ContainsFunc(outs, func(r record) bool { return d.plan.of(r.side).role == workerPort })
	if sure && worker != 0 {
		there, known := d.present[worker-1].sole(p.time, p.doneBy)
		if known && there == 0 {
			return
		}
		sure = known
	}
	switch {
	case !d.mayBe(mac, place):
		d.refusals[mac] = append(d.refusals[mac], write{value: place, begin: p.time, end: p.learnedBy, optional: !sure || worker == 0})
	case left, sure && worker != 0:
		d.locations[mac].write(place, p.time, p.learnedBy)
	case !sure:
		d.locations[mac].maybe(place, p.time, p.learnedBy)
	}
}

// handle adds everything the demux may do with a frame to the alternatives.
func (d *refDemux) handle(f *frame, p *pass) {
	switch at := d.plan.of(p.side); {
	case at.role == trunkEnd:
		d.fromTrunk(f, p)
	case group(f.dest):
		d.flood(p, at.index)
	default:
		d.fromWorker(f, p, at.index)
	}
}

func (d *refDemux) fromTrunk(f *frame, p *pass) {
	switch {
	case !p.tags.vlan():
		if d.passUntagged {
			d.alternatives.add(outcome{
				want:  d.alternatives.one(emission{side: d.plan.out(hostStack, 0), tags: p.tags, length: p.length}),
				entry: entry{counter: d.counters.passed(), frames: 1, octets: uint64(p.length)},
			})
			return
		}
		d.drop(dropUntagged, p)
		return
	case !station(f.source):
		d.drop(dropInvalidSource, p)
		return
	case p.tags.outer().VID() == 4095:
		d.drop(dropInvalidVLAN, p)
		return
	}
	mac, known := d.macs[f.source]
	if !known {
		d.fromUnknown(p)
		return
	}
	d.workers = d.assigned[mac].legal(p.time, p.doneBy, d.workers[:0])
	for _, w := range d.workers {
		if w == 0 {
			d.fromUnknown(p)
			continue
		}
		there, sure := d.present[w-1].sole(p.time, p.doneBy)
		if !sure || there == 0 {
			d.drop(dropNoWorker, p)
		}
		if sure && there == 0 {
			continue
		}
		if cutBehindTag(f, p) {
			d.drop(dropTagFailed, p)
			continue
		}
		if !d.mayBe(mac, placeOf(d.plan.of(p.side).index, p.tags.outer().Protocol, p.tags.outer().TCI)) {
			d.drop(dropWrongPlace, p)
			continue
		}
		if !sure { // it was handed to a link that was gone
			d.alternatives.add(outcome{why: whySevered, entry: d.counters.rx(mac, d.renewals[mac].of(p), uint64(p.length))})
		}
		out := emission{side: d.plan.out(workerPort, int(w-1)), tags: p.tags.pop(), length: p.length - tagOctets}
		if tooLong(d.mtus[w-1], &out) {
			d.drop(dropTooLong, p)
			continue
		}
		d.alternatives.add(outcome{
			want:  d.alternatives.one(out),
			entry: d.counters.rx(mac, d.renewals[mac].of(p), uint64(p.length)),
		})
	}
}

// fromUnknown is for a MAC without a worker.
func (d *refDemux) fromUnknown(p *pass) {
	out := emission{tags: p.tags.pop(), length: p.length - tagOctets}
	counted := entry{frames: 1, octets: uint64(p.length)}
	switch {
	case d.passUnknown: // the stack takes the tag off before it looks
		out.side, counted.counter = d.plan.out(hostStack, 0), d.counters.unknownPassed
	case d.unknown == 0:
		d.drop(dropUnknownClient, p)
		return
	case tooLong(d.mtus[d.unknown-1], &out):
		d.drop(dropTooLong, p)
		return
	default:
		out.side, counted.counter = d.plan.out(workerPort, d.unknown-1), d.counters.unknownForwarded
	}
	d.alternatives.add(outcome{entry: counted, want: d.alternatives.one(out)})
}

// cutBehindTag tells whether a second tag is not there to its end: the kernel cannot take
// off the first then, which makes the second the outer one (__skb_vlan_pop in net/core/skbuff.c).
func cutBehindTag(f *frame, p *pass) bool {
	return p.tags.count == 1 && (f.etherType == probe.Dot1Q || f.etherType == probe.Dot1AD) && p.length < ethernetHeader+2*tagOctets
}

// tooLong tells whether a device of an MTU, 0 for one that takes every frame of the lab, cannot take a frame: the kernel
// allows one tag in the data, and has another beside it (is_skb_forwardable in net/core/dev.c).
func tooLong(mtu int, e *emission) bool {
	length := int(e.length)
	if e.tags.count > 0 {
		length -= tagOctets
	}
	return mtu != 0 && length > mtu+ethernetHeader+tagOctets
}

func (d *refDemux) toTrunk(p *pass, place uint64) emission {
	return emission{
		side: d.plan.out(trunkEnd, trunkOf(place)), tags: p.tags.push(tagOf(place)), length: p.length + tagOctets,
	}
}

func (d *refDemux) fromWorker(f *frame, p *pass, worker int) {
	mac, known := d.macs[f.dest]
	if !known {
		d.drop(dropNotAssigned, p)
		return
	}
	d.workers = d.assigned[mac].legal(p.time, p.doneBy, d.workers[:0])
	refused := false
	for _, w := range d.workers {
		if w != uint64(worker+1) {
			if !refused {
				d.drop(dropNotAssigned, p)
			}
			refused = true
			continue
		}
		d.values = d.locations[mac].legal(p.time, p.doneBy, d.values[:0])
		for _, place := range d.values {
			if place == 0 {
				d.drop(dropUnlearned, p)
				continue
			}
			up, sure := d.trunksUp[trunkOf(place)].sole(p.time, p.doneBy)
			if !sure || up == 0 {
				d.drop(dropNoTrunk, p)
			}
			if sure && up == 0 {
				continue
			}
			e := d.toTrunk(p, place)
			if tooLong(d.trunkMTU, &e) {
				d.drop(dropTooLong, p)
				continue
			}
			d.alternatives.add(outcome{
				want:  d.alternatives.one(e),
				entry: d.counters.tx(mac, d.renewals[mac].of(p), uint64(e.length)),
			})
		}
	}
}

// mostUnsure bounds of how many places all choices are tried.
const mostUnsure = 10

// flood is a copy to each place where the worker has a client, with PCP 0 and DEI 0:
// a place has neither. The demux looks at one place after the other. So a frame that
// meets a client's move may find it where it was, where it is, at both, or, if the
// new place was looked at before the client was there, at none.
func (d *refDemux) flood(p *pass, worker int) {
	members, certain := false, false
	d.places, d.unsure = d.places[:0], d.unsure[:0]
	for mac := range d.assigned {
		d.workers = d.assigned[mac].legal(p.time, p.doneBy, d.workers[:0])
		if !slices.Contains(d.workers, uint64(worker+1)) {
			continue
		}
		sure := len(d.workers) == 1
		members, certain = true, certain || sure
		d.values = d.locations[mac].legal(p.time, p.doneBy, d.values[:0])
		for i := range d.values {
			d.values[i] &= vidOnly
		}
		d.values = slices.Compact(d.values)
		if sure && len(d.values) == 1 {
			d.places = append(d.places, d.values...)
		} else {
			d.unsure = append(d.unsure, d.values...)
		}
	}
	if !members || !certain {
		d.drop(dropNotAssigned, p)
	}
	if !members {
		return
	}
	if d.overLimit(p, worker) {
		d.drop(dropGroupLimit, p)
	}
	slices.Sort(d.unsure)
	d.unsure = slices.DeleteFunc(slices.Compact(d.unsure), func(at uint64) bool { return at == 0 || slices.Contains(d.places, at) })
	sure := len(d.places)
	for set := range 1 << min(len(d.unsure), mostUnsure) {
		d.places = d.places[:sure]
		for i, at := range d.unsure {
			if set>>i&1 == 1 {
				d.places = append(d.places, at)
			}
		}
		d.copies(p, worker)
	}
}

// overLimit tells whether the frame is one too many: the worker has sent as many group frames as it may in the second before.
func (d *refDemux) overLimit(p *pass, worker int) bool {
	sent := 0
	for _, t := range d.groups[worker] {
		if t <= p.time && t > p.time-int64(time.Second) {
			sent++
		}
	}
	return d.groupLimit != 0 && sent > d.groupLimit
}

// copies adds the outcomes of a flood to the places: two if a trunk of theirs is going down or coming up.
func (d *refDemux) copies(p *pass, worker int) {
	d.distinct = append(d.distinct[:0], d.places...)
	slices.Sort(d.distinct)
	d.distinct = slices.DeleteFunc(slices.Compact(d.distinct), func(at uint64) bool { return at == 0 }) // nobody has seen it
	if len(d.distinct) == 0 {
		d.drop(dropUnlearned, p)
		return
	}
	if d.copiesIf(1, p, worker) {
		d.copiesIf(0, p, worker)
	}
}

// copiesIf adds the outcome if what may be up or down is as said, and tells whether anything may.
func (d *refDemux) copiesIf(as uint64, p *pass, worker int) (unsure bool) {
	start := d.alternatives.mark()
	why := ""
	sent, refused := entry{counter: d.counters.flooded(worker)}, entry{counter: d.counters.drop(dropNoTrunk)}
	for _, place := range d.distinct {
		up, sure := d.trunksUp[trunkOf(place)].sole(p.time, p.doneBy)
		if !sure {
			up, unsure = as, true
		}
		e, counted := d.toTrunk(p, place), &refused
		switch {
		case up == 0:
		case tooLong(d.trunkMTU, &e):
			why, counted, sent.counter = dropTooLong, &sent, d.counters.drop(dropTooLong)
		default:
			counted = &sent
			d.alternatives.emit(e)
		}
		counted.frames, counted.octets = counted.frames+1, counted.octets+uint64(e.length)
	}
	o := outcome{want: d.alternatives.since(start), entry: sent, why: why}
	switch {
	case sent.frames == 0:
		o.entry, o.why = refused, dropNoTrunk
	case refused.frames > 0:
		o.also = refused
	}
	d.alternatives.add(o)
	return unsure
}
