package ledger

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// Rejected is a wrong frame for those who look at a capture.
type Rejected struct {
	Fingerprint probe.Fingerprint
	Comment     string // what is wrong with it
	Octets      []byte // as it was sent, if a batch or a tap has it
}

const (
	mostAccounts = 1000
	mostRejected = 10_000
)

// wrongFrame is one wrong frame, kept to be traced: of those with one and the same account, the first.
type wrongFrame struct {
	frame  int32
	time   int64
	rows   []row
	notes  []note
	faults []string
	alike  int // how many there are, it included
}

// groupWrong puts the frame that has just been checked to those that went wrong at the same taps in the same way.
func (a *audit) groupWrong(index int32, first int64) {
	if len(a.rejected) < mostRejected {
		a.rejected = append(a.rejected, rejected{frame: index, comment: a.comment()})
	}
	account := a.account()
	known := a.wrong[account]
	if known == nil && len(a.wrong) >= mostAccounts {
		return // it is counted, as all are
	}
	alike := 1
	if known != nil {
		known.alike++
		if known.time <= first {
			return
		}
		alike = known.alike
	}
	if a.wrong == nil {
		a.wrong = map[string]*wrongFrame{}
	}
	a.wrong[account] = &wrongFrame{
		frame: index, time: first, rows: slices.Clone(a.rows), notes: slices.Clone(a.notes), faults: slices.Clone(a.faults), alike: alike,
	}
}

// account is what happened to the frame that has just been checked, whatever its tags and its size.
func (a *audit) account() string {
	key := make([]byte, 0, 8*len(a.rows))
	for _, r := range a.rows {
		key = binary.AppendUvarint(key, uint64(r.side))
		key = binary.AppendUvarint(key, uint64(r.want))
		key = binary.AppendUvarint(key, uint64(r.got))
	}
	for _, n := range a.notes {
		key = append(key, n.String()...)
	}
	return string(append(key, byte(len(a.faults))))
}

// comment is what is wrong with the frame that has just been checked, in one line.
func (a *audit) comment() string {
	faults := slices.Clone(a.faults)
	for _, r := range a.rows {
		if r.wrong() {
			faults = append(faults, fmt.Sprintf("%s %s: want %d, got %d", a.plan.of(r.side).name, r.side.direction(), r.want, r.got))
		}
	}
	return strings.Join(faults, "; ")
}

// firstOfEachAccount are the wrong frames to be traced, in the order in which they came.
func (a *audit) firstOfEachAccount() []*wrongFrame {
	all := slices.SortedFunc(maps.Values(a.wrong), func(x, y *wrongFrame) int {
		return cmp.Or(cmp.Compare(x.time, y.time), cmp.Compare(x.frame, y.frame))
	})
	return all[:min(len(all), shownFrames)]
}

// rejected is a Rejected whose octets are yet to be found.
type rejected struct {
	frame   int32
	comment string
}

// reject lists the wrong frames. Each batch is made again once.
func (a *audit) reject() []Rejected {
	all := make([]Rejected, len(a.rejected))
	wanted := map[int32]map[int]int{} // by batch and number: the index in all
	for i, r := range a.rejected {
		f := &a.table.frames[r.frame]
		all[i] = Rejected{Fingerprint: f.fingerprint, Comment: r.comment}
		if f.origin < 0 {
			all[i].Octets, _ = a.data(f)
			continue
		}
		o := &a.table.origins[f.origin]
		if wanted[o.batch] == nil {
			wanted[o.batch] = map[int]int{}
		}
		wanted[o.batch][int(o.number)] = i
	}
	for batch, numbers := range wanted {
		for number, data := range a.in.Sent[batch].Batch.AllFrames() {
			if i, ours := numbers[number]; ours {
				all[i].Octets = slices.Clone(data)
			}
		}
	}
	return all
}
