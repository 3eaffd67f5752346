package demux

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Assignment is one client and its worker.
type Assignment struct {
	MAC      MAC      `json:"mac"`    // as text in lower-case colon form
	Worker   string   `json:"worker"` // interface name
	Location Location `json:"-"`      // where the client was last seen; ignored when assigning
	// Places are those where the client may be: its frames from any other are dropped as
	// "wrong_place", and its location stays. With one place, that is its location from the start. None: anywhere.
	Places []Place `json:"places,omitempty"`
	// Force attaches the worker although it looks like one of the host's own ([ErrUnfit]). Ignored when reading.
	Force bool `json:"-"`
}

// MACs are those of the assignments.
func MACs(assignments []Assignment) []MAC {
	macs := make([]MAC, 0, len(assignments))
	for _, a := range assignments {
		macs = append(macs, a.MAC)
	}
	return macs
}

// SortAssignments sorts a list by MAC; those of one MAC stay in their order.
func SortAssignments(list []Assignment) { sortByMAC(list, func(a *Assignment) MAC { return a.MAC }) }

// Twice returns a MAC that more than one of the assignments has.
func Twice(assignments []Assignment) (mac MAC, found bool) {
	words := make([]uint64, 0, len(assignments))
	for _, a := range assignments {
		words = append(words, a.MAC.ordered()) // most lists are in order
	}
	slices.Sort(words)
	for i := 1; i < len(words); i++ {
		if words[i] == words[i-1] {
			return macOf(bits.ReverseBytes64(words[i])), true
		}
	}
	return MAC{}, false
}

// String gives "02:00:00:00:00:01=w0", or "02:00:00:00:00:01=w0@eth1:12,13@eth2:ad7" for a client
// that may be at some places only.
func (a Assignment) String() string { return a.MAC.String() + "=" + a.Target() }

// Target is the part behind the equals sign.
func (a Assignment) Target() string {
	var text strings.Builder
	text.WriteString(a.Worker)
	trunk := ""
	for i, p := range a.Places {
		if i > 0 && p.Trunk == trunk {
			text.WriteString("," + p.vlan())
			continue
		}
		trunk = p.Trunk
		text.WriteString("@" + p.String())
	}
	return text.String()
}

// ParseTarget reads what Target gives: a worker, and where the client may be. The worker's name may
// have an @, but no colon.
func ParseTarget(text string) (worker string, places []Place, err error) {
	worker = text
	for {
		head, group, found := cutLast(worker, "@")
		if !found || !strings.Contains(group, ":") {
			places, err = CanonicalPlaces(places)
			return worker, places, err
		}
		trunk, vlans, _ := strings.Cut(group, ":")
		if head == "" || trunk == "" {
			return "", nil, fmt.Errorf("%q: %w: it is not WORKER@TRUNK:VID,VID, e.g. w0@eth1:12,13", text, ErrBadPlace)
		}
		var here []Place
		for _, vlan := range strings.Split(vlans, ",") {
			p := Place{Trunk: trunk, Protocol: Protocol8021Q}
			digits, ad := strings.CutPrefix(vlan, "ad")
			if ad {
				p.Protocol = Protocol8021AD
			}
			vid, err := strconv.ParseUint(digits, 10, 12)
			if err != nil || vid > 4094 {
				return "", nil, fmt.Errorf("%q: %w: %q is no VID from 0 to 4094, or ad and a VID for 802.1ad", text, ErrBadPlace, vlan)
			}
			p.VID = uint16(vid)
			here = append(here, p)
		}
		worker, places = head, append(here, places...)
	}
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// Assignments returns every assignment, by MAC.
func (d *Demux) Assignments() ([]Assignment, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, ErrClosed
	}
	assignments := make([]Assignment, 0, d.table.used)
	for _, slot := range d.free.others(0, d.opts.Capacity) {
		assignments = append(assignments, d.assignment(slot))
	}
	SortAssignments(assignments)
	return assignments, nil
}

// Find returns the assignments of those of the clients that have one, in the order of the MACs.
func (d *Demux) Find(macs []MAC) ([]Assignment, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, ErrClosed
	}
	found := make([]Assignment, 0, len(macs))
	for _, mac := range macs {
		if e := d.table.find(mac.word()); e != nil {
			found = append(found, d.assignment(uint32(e.value.Load())))
		}
	}
	return found, nil
}

// Assigned returns how many assignments there are.
func (d *Demux) Assigned() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.table.used
}

func (d *Demux) assignment(slot uint32) Assignment {
	c := &d.clients[slot]
	return Assignment{MAC: macOf(c.mac), Worker: c.worker.name, Location: unpackLocation(d.locations[slot].Load()), Places: d.placesOf(slot)}
}
