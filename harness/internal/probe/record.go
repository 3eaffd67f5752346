package probe

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

const (
	frameChunk = 256 << 10 // octets of retained frames allocated at a time

	defaultRetainBytes = 2 << 20
)

// tapped is one packet as a socket hands it over. Its data is the kernel's.
type tapped struct {
	data      []byte
	hdr       VirtioNetHeader
	outer     Tag // the tag that is not in the data, if tagged
	tagged    bool
	length    int // octets before the kernel cut the packet to what fits
	time      int64
	direction Direction
}

// wireFrames calls emit with the frames that p is on the wire, without p.outer.
func (p *tapped) wireFrames(s *Segmenter, emit func(frame []byte) bool) error {
	if p.length != len(p.data) {
		return fmt.Errorf("a packet of %d octets is cut to %d by the ring", p.length, len(p.data))
	}
	if n := tagStack(p.data); n >= SightedTags {
		return fmt.Errorf("a packet with %d tags in its data, at most %d can be told apart", n, SightedTags-1)
	}
	return s.Frames(p.data, p.hdr, emit)
}

// appendFrame appends a wire frame to b, with p's outer tag back in its place.
func (p *tapped) appendFrame(b, frame []byte) []byte {
	if !p.tagged || len(frame) < 12 {
		return append(b, frame...)
	}
	b = append(b, frame[:12]...)
	b = binary.BigEndian.AppendUint16(b, p.outer.Protocol)
	b = binary.BigEndian.AppendUint16(b, p.outer.TCI)
	return append(b, frame[12:]...)
}

func (p *tapped) sight(frame []byte) (s Sighting) {
	inner := tagStack(frame)
	s.Fingerprint = fingerprint(frame, inner)
	s.Time, s.Direction = p.time, p.direction
	s.Length = uint16(len(frame))
	if p.tagged {
		s.Length += tagLen
		s.Tags[0] = p.outer
		s.TagCount = 1
	}
	if len(frame) < ethernetHeader {
		return s
	}
	for i := range inner {
		tag := frame[12+tagLen*i:]
		s.Tags[s.TagCount] = Tag{binary.BigEndian.Uint16(tag), binary.BigEndian.Uint16(tag[2:])}
		s.TagCount++
	}
	s.EtherType = binary.BigEndian.Uint16(frame[12+tagLen*inner:])
	copy(s.Destination[:], frame)
	copy(s.Source[:], frame[6:])
	return s
}

type keptFrame struct {
	fingerprint Fingerprint
	data        []byte
}

// recorder keeps what a tap sees. One goroutine adds and marks; total, and what was
// there at the mark, may be read meanwhile.
type recorder struct {
	marked    atomic.Pointer[recorded]
	total     atomic.Uint64
	longest   int
	undecoded uint64
	reason    string

	sightings sightingLog // since the mark, or all without one
	kept      []keptFrame
	buffer    []byte // where the next kept frame goes
	retain    int    // octets of frames that may still be kept
	retains   int    // what that was at first
	segmenter Segmenter
	current   *tapped
	emit      func(frame []byte) bool // made once, so that add does not allocate
}

func newRecorder(retain int) *recorder {
	r := &recorder{retains: max(retain, 0)}
	if retain == 0 {
		r.retains = defaultRetainBytes
	}
	r.retain = r.retains
	r.emit = func(frame []byte) bool {
		r.addFrame(r.current, frame)
		return true
	}
	return r
}

func (r *recorder) add(p *tapped) {
	r.current = p
	r.longest = max(r.longest, p.length)
	if err := p.wireFrames(&r.segmenter, r.emit); err != nil {
		if r.undecoded == 0 {
			r.reason = err.Error()
		}
		r.undecoded++
	}
	r.current = nil
}

func (r *recorder) addFrame(p *tapped, frame []byte) {
	s := p.sight(frame)
	r.sightings.add(&s)
	if r.retain > 0 {
		r.keep(p, s.Fingerprint, frame)
	}
	r.total.Add(1)
}

// keep copies the frame. The first one that no longer fits ends the copying, so
// that what was kept is the beginning without a gap.
func (r *recorder) keep(p *tapped, fp Fingerprint, frame []byte) {
	need := len(frame) + tagLen
	if need > r.retain {
		r.retain = 0
		return
	}
	if cap(r.buffer)-len(r.buffer) < need {
		r.buffer = make([]byte, 0, max(frameChunk, need))
	}
	start := len(r.buffer)
	r.buffer = p.appendFrame(r.buffer, frame)
	data := r.buffer[start:len(r.buffer):len(r.buffer)]
	r.kept = append(r.kept, keptFrame{fp, data})
	r.retain -= len(data)
}

// recorded is what had been recorded at some moment. What is added afterwards is not in it.
type recorded struct {
	sightings sightingLog
	kept      []keptFrame
}

// mark makes what is there now readable while more is added.
func (r *recorder) mark() {
	r.marked.Store(&recorded{r.sightings, r.kept})
	r.sightings = sightingLog{}
}

// forget makes it one that has recorded nothing. What was read of it stays as it is.
func (r *recorder) forget() {
	r.marked.Store(nil)
	r.total.Store(0)
	r.longest, r.undecoded, r.reason = 0, 0, ""
	r.sightings, r.kept, r.buffer, r.retain = sightingLog{}, nil, nil, r.retains
}

// read is what was there at the mark, or all without one.
func (r *recorder) read() *recorded {
	if marked := r.marked.Load(); marked != nil {
		return marked
	}
	return &recorded{r.sightings, r.kept}
}

// late are the sightings after the mark.
func (r *recorder) late() (late []Sighting) {
	if r.marked.Load() == nil {
		return nil
	}
	for _, s := range r.sightings.all() {
		late = append(late, s)
	}
	return late
}
