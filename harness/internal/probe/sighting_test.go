package probe

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

func someSightings(n int) []Sighting {
	var all []Sighting
	for i := range n {
		all = append(all, Sighting{
			Fingerprint: Fingerprint(i) * 0x9e3779b97f4a7c15, Time: 1764000000_123456789 + int64(i),
			Length: uint16(60 + i), EtherType: 0x88b5, Tags: [SightedTags]Tag{{Dot1AD, uint16(i)}, {Dot1Q, 7}, {Dot1Q, 8}, {Dot1AD, 0xe009}},
			TagCount: 4, Direction: Out, Destination: macA(), Source: macB(),
		})
	}
	return all
}

func logged(all []Sighting) *sightingLog {
	l := &sightingLog{}
	for i := range all {
		l.add(&all[i])
	}
	return l
}

// octets is how long they are, encoded.
func (l *sightingLog) octets() int { return len(slices.Concat(l.chunks...)) }

func TestSightingsSurviveEncoding(t *testing.T) {
	g := NewWithT(t)
	all := someSightings(5000)
	for i := range all[:100] {
		last := all[i] // in no order of time, and of a shape that was there
		last.Time -= int64(i*i) << 40
		all = append(all, last)
	}
	g.Expect(slices.Collect(unnumbered(logged(all).all()))).To(Equal(all))
	g.Expect(slices.Collect(unnumbered(logged(nil).all()))).To(BeEmpty())
}

// Frames of one flow have nothing new but a length, a time and a fingerprint.
func TestSightingsOfAFlowAreShort(t *testing.T) {
	all := someSightings(1)
	for i := range int64(1000) {
		all = append(all, all[0])
		all[i+1].Time += 10_000 * (i + 1)
		all[i+1].Length = 1514
	}
	NewWithT(t).Expect(logged(all).octets()).To(BeNumerically("<", 15*len(all)))
}

func TestReportTellsWhatATapMissed(t *testing.T) {
	g := NewWithT(t)
	point := TapPoint{Name: "c0/eth0"}
	g.Expect(TapReport{Point: point, Packets: 10, Read: 10}.Err()).NotTo(HaveOccurred())
	g.Expect(TapReport{Point: point, Packets: 10, Read: 9, Dropped: 1}.Err()).To(MatchError(ContainSubstring("lost 1 of 10 packets")))
	g.Expect(TapReport{Point: point, Packets: 10, Read: 9}.Err()).To(MatchError("tap c0/eth0 read 9 packets, the kernel counted 10 and dropped 0"))
	g.Expect(TapReport{Point: point, Packets: 10, Read: 10, Undecoded: 2, UndecodedReason: "a moth"}.Err()).
		To(MatchError("tap c0/eth0 could not turn 2 of 10 packets into wire frames, the first because of: a moth"))
}

// The beginning is kept without a gap, and no more than asked for.
func TestRecorderKeepsTheFirstFramesWhole(t *testing.T) {
	g := NewWithT(t)
	r := newRecorder(10_000)
	b := &Batch{Count: 100, Size: 1000}
	frames := wire(b)
	for _, frame := range frames {
		r.add(&tapped{data: frame, length: len(frame), tagged: true, outer: Tag{Dot1AD, 0x2064}, direction: In, time: 1})
	}
	g.Expect(r.total.Load()).To(BeEquivalentTo(100))
	g.Expect(r.kept).To(HaveLen(9))
	for i, frame := range r.kept {
		g.Expect(frame.fingerprint).To(Equal(FingerprintOf(frames[i])))
		g.Expect(frame.data).To(Equal(insert(frames[i], 12, []byte{0x88, 0xa8, 0x20, 0x64})))
	}
}

func TestRecorderCountsWhatItCannotDecode(t *testing.T) {
	g := NewWithT(t)
	r := newRecorder(0)
	r.add(&tapped{data: make([]byte, 60), length: 70})
	r.add(&tapped{data: make([]byte, 60), length: 60, hdr: VirtioNetHeader{GSOType: 3, GSOSize: 10}})
	g.Expect(r.total.Load()).To(BeZero())
	g.Expect(r.undecoded).To(BeEquivalentTo(2))
	g.Expect(r.reason).To(Equal("a packet of 70 octets is cut to 60 by the ring"))
}

func TestRecorderDoesNotAllocateForEachFrame(t *testing.T) {
	r := newRecorder(-1)
	frame, _ := (&Batch{Count: 1, Size: 1514, Flow: flow(UDP, false), Tags: []Tag{{Dot1Q, 1}}}).Packet(0, nil)
	p := tapped{data: frame, length: len(frame), tagged: true, outer: Tag{Dot1AD, 5}}
	r.add(&p)
	NewWithT(t).Expect(testing.AllocsPerRun(chunkSize/mostOctets, func() { r.add(&p) })).To(BeNumerically("<", 0.01))
}
