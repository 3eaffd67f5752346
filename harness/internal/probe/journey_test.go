package probe

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// someTaps have seen frames of two flows pass through all of them: 20 µs a frame, the taps some µs apart, a tag at the middle ones.
func someTaps(frames, taps int, rng *rand.Rand) [][]Sighting {
	all := make([][]Sighting, taps)
	for n := range frames {
		at := 1764000000_123456789 + int64(n)*20_000
		for tap := range all {
			at += 500 + rng.Int64N(6000)
			s := Sighting{Fingerprint: Fingerprint(rand.NewPCG(uint64(n), 1).Uint64()), Time: at, Length: 100, Direction: In, Destination: macA(), Source: macB()}
			if n%2 == 1 {
				s.Destination, s.Source = macB(), macA()
			}
			if tap > taps/3 && tap < 2*taps/3 {
				s.Tags[0], s.TagCount, s.Length = Tag{Dot1Q, 7}, 1, 104
			}
			all[tap] = append(all[tap], s)
		}
	}
	return all
}

func writeJourneys(g Gomega, all [][]Sighting) []byte {
	var taps []iter.Seq2[int, Sighting]
	for _, seen := range all {
		taps = append(taps, logged(seen).all())
	}
	var buf bytes.Buffer
	g.Expect(WriteJourneys(&buf, taps)).To(Succeed())
	return buf.Bytes()
}

// Whatever the taps saw is there again, in the order of each source and destination at each tap.
func TestJourneysAreWhatTheTapsSaw(t *testing.T) {
	g := NewWithT(t)
	rng := rand.New(rand.NewPCG(1, 1))
	all := someTaps(1000, 9, rng)
	for tap := range all { // lost, doubled, overtaken, altered in length, back in time
		for range 40 {
			i, j := rng.IntN(len(all[tap])), rng.IntN(len(all[tap]))
			all[tap][i], all[tap][j] = all[tap][j], all[tap][i]
			all[tap] = slices.Insert(all[tap], i, all[tap][j])
			all[tap] = slices.Delete(all[tap], j, j+1)
			all[tap][j].Length, all[tap][i].Time = uint16(rng.Uint32()), all[tap][i].Time-int64(rng.Uint64()>>8)
		}
	}
	type flow struct{ destination, source MAC }
	got := make([]map[flow][]Sighting, len(all))
	frames := map[Fingerprint]bool{}
	for steps, err := range ReadJourneys(bytes.NewReader(writeJourneys(g, all))) {
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(frames).NotTo(HaveKey(steps[0].Fingerprint), "all of a frame is one journey")
		frames[steps[0].Fingerprint] = true
		for _, s := range steps {
			if got[s.Tap] == nil {
				got[s.Tap] = map[flow][]Sighting{}
			}
			key := flow{s.Destination, s.Source}
			got[s.Tap][key] = append(got[s.Tap][key], make([]Sighting, max(0, int(s.Place)-len(got[s.Tap][key])))...)
			got[s.Tap][key][s.Place-1] = s.Sighting
		}
	}
	for tap := range all {
		want := map[flow][]Sighting{}
		for _, s := range all[tap] {
			want[flow{s.Destination, s.Source}] = append(want[flow{s.Destination, s.Source}], s)
		}
		for _, key := range slices.Collect(maps.Keys(want)) {
			g.Expect(slices.Equal(got[tap][key], want[key])).To(BeTrue(), "tap %d, %s", tap, key.source)
		}
	}
}

func TestJourneysThatEndEarlyAreAnError(t *testing.T) {
	g := NewWithT(t)
	whole := writeJourneys(g, someTaps(3, 4, rand.New(rand.NewPCG(1, 1))))
	read := func(r io.Reader) (n int, err error) {
		for _, err = range ReadJourneys(r) {
			n++
		}
		return n, err
	}
	g.Expect(read(bytes.NewReader(whole))).To(Equal(3))
	for n := range whole {
		_, err := read(bytes.NewReader(whole[:n]))
		g.Expect(err).To(MatchError(io.ErrUnexpectedEOF), "cut at %d", n)
	}
	for content, trouble := range map[string]string{
		"\x02\x00": "no steps", "\x05": "it is of kind 2, and there are 0", "\x01": "it is of kind 0", "\x00\x1f": "0 arrived of 31", "\x02\x01\x00": "without a direction",
	} {
		_, err := read(strings.NewReader(journeyMagic + content + strings.Repeat("\x00", 100)))
		g.Expect(err).To(MatchError(ContainSubstring(trouble)))
	}
	_, err := read(bytes.NewReader(bytes.Repeat([]byte("x"), 100)))
	g.Expect(err).To(MatchError(ContainSubstring(`they begin with "xxxxxxxx"`)))
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestJourneysTellOfAFailedWrite(t *testing.T) {
	NewWithT(t).Expect(WriteJourneys(fullDisk{}, nil)).To(MatchError(ContainSubstring("no space left")))
}

// BenchmarkJourneys says how many octets a sighting is on the wire, by itself and joined with those of the same frame.
func BenchmarkJourneys(b *testing.B) {
	g := NewWithT(b)
	all := someTaps(100_000, 10, rand.New(rand.NewPCG(1, 1)))
	var alone int64
	for _, seen := range all {
		alone += int64(logged(seen).octets())
	}
	for b.Loop() {
		joined := writeJourneys(g, all)
		b.ReportMetric(float64(len(joined))/1e6, "octets/sighting")
	}
	b.ReportMetric(float64(alone)/1e6, "octets/sighting-alone")
}
