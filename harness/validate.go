package harness

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

const (
	minMTU     = 576
	minMTUIPv6 = 1280 // RFC 8200, section 5
	maxMTU     = 9000
	maxTrunks  = 8
)

// Validate returns every mistake of the topology in one error, nil if there is
// none. Nothing is started, resolved or looked up.
func (t Topology) Validate() error {
	t = t.withDefaults()
	v := validator{topology: t, names: map[string]string{}, macs: map[MAC]string{}}
	v.lab()
	for i, w := range t.Workers {
		v.worker(i, w)
	}
	for i, c := range t.Clients {
		v.client(i, c)
	}
	if len(v.mistakes) == 0 {
		return nil
	}
	return fmt.Errorf("the topology has %d mistakes:\n%w", len(v.mistakes), errors.Join(v.mistakes...))
}

type validator struct {
	topology Topology
	names    map[string]string // name → who has it
	macs     map[MAC]string    // MAC → who has it
	inHost   int               // workers in the host's namespace
	mistakes []error
}

func (v *validator) wrong(format string, args ...any) {
	v.mistakes = append(v.mistakes, fmt.Errorf(format, args...))
}

func (v *validator) lab() {
	t := v.topology
	if len(t.Clients) == 0 {
		v.wrong("clients: none; a lab needs one at least")
	}
	if len(t.Workers) == 0 {
		v.wrong("workers: none; a lab needs one at least")
	}
	if t.Trunks < 1 || t.Trunks > maxTrunks {
		v.wrong("trunks: %d is not within 1 to %d", t.Trunks, maxTrunks)
	}
	lowest := minMTU
	if t.hasIPv6() {
		lowest = minMTUIPv6
	}
	if t.MTU < lowest || t.MTU > maxMTU {
		v.wrong("MTU: %d is not within %d to %d octets", t.MTU, lowest, maxMTU)
	}
	if t.SuperPacket < 0 || t.SuperPacket > wire.MaxSuperPacket {
		v.wrong("super-packets: %d is not within 0 to %d octets", t.SuperPacket, wire.MaxSuperPacket)
	}
	if t.Switch != SwitchAuto && !slices.Contains(wire.SwitchKinds(), string(t.Switch)) {
		v.wrong("switch: %q is none of %q", t.Switch, wire.SwitchKinds())
	}
	if !slices.Contains([]demux.AttachMode{demux.AttachAuto, demux.AttachTCX, demux.AttachClsact}, t.Demux.Attach) {
		v.wrong("demux: attach mode %q is none of auto, tcx, clsact", t.Demux.Attach)
	}
	if !slices.Contains([]demux.UntaggedPolicy{demux.UntaggedDrop, demux.UntaggedPass}, t.Demux.Untagged) {
		v.wrong("demux: untagged policy %q is none of drop, pass", t.Demux.Untagged)
	}
	if c := t.Demux.Contract; c != nil && c.Reference == nil {
		v.wrong("demux: its contract has no reference, which says what becomes of frames")
	}
	assigned := 0
	for _, c := range t.Clients {
		if c.Worker != "" {
			assigned++
		}
	}
	if t.Demux.Contract != nil && assigned > 0 {
		v.wrong("demux: %d clients are assigned to workers, which another contract than vlandemux's knows nothing of", assigned)
	}
	if t.Demux.Capacity < 0 || t.Demux.Capacity > 0 && assigned > t.Demux.Capacity {
		v.wrong("demux: capacity %d has no room for the %d clients assigned at the start", t.Demux.Capacity, assigned)
	}
}

// An interface name is at most IFNAMSIZ-1 = 15 characters.
var nodeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,14}$`)

// Names that the lab itself gives to nodes and interfaces, and those that no
// interface may have.
var reservedName = regexp.MustCompile(`^(host|switch|lo|all|default|eth\d+|trunk\d+)$`)

func (v *validator) node(who, name string, mac MAC, addresses []netip.Prefix, image *Image) {
	switch {
	case !nodeName.MatchString(name):
		v.wrong("%s: name %q must be a lower-case letter, then letters, digits or hyphens, 15 characters at most", who, name)
	case reservedName.MatchString(name):
		v.wrong("%s: name %q is one the lab uses itself", who, name)
	case v.names[name] != "":
		v.wrong("%s: name %q is taken by %s", who, name, v.names[name])
	default:
		v.names[name] = who
	}
	if err := mac.Validate(); err != nil {
		v.wrong("%s: %w", who, err)
	} else if other, taken := v.macs[mac]; taken {
		v.wrong("%s: MAC %s is taken by %s", who, mac, other)
	} else {
		v.macs[mac] = who
	}
	if image != nil && image.Name == "" {
		v.wrong("%s: its image has no name", who)
	}
	seen := map[netip.Addr]bool{}
	for _, p := range addresses {
		a := p.Addr()
		switch {
		case !p.IsValid():
			v.wrong("%s: address %s is not valid", who, p)
		case a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.Is4In6():
			v.wrong("%s: address %s is not a unicast address of a link", who, p)
		case seen[a]:
			v.wrong("%s: address %s is there twice", who, p)
		}
		seen[a] = true
	}
}

func (v *validator) worker(i int, w Worker) {
	if w.InHost {
		v.inHost++
		if v.inHost > 1 || len(w.Addresses) > 0 || w.Image != nil || v.topology.hasIPv6() {
			v.wrong("worker %s: one worker at most can be in the host's namespace, without addresses and image, and in a lab without IPv6", w.Name)
		}
	}
	v.node(called("worker", i, w.Name), w.Name, w.MAC, w.Addresses, w.Image)
	if w.MTU != 0 && (w.MTU < minMTU || w.MTU > maxMTU) {
		v.wrong("%s: MTU %d is not within %d to %d", called("worker", i, w.Name), w.MTU, minMTU, maxMTU)
	}
}

func (v *validator) client(i int, c Client) {
	who := called("client", i, c.Name)
	v.node(who, c.Name, c.MAC, c.Addresses, c.Image)
	for _, p := range append([]Place{c.Place}, c.Allowed...) {
		if err := p.VLAN.Validate(); err != nil {
			v.wrong("%s: %w", who, err)
		}
		if p.Trunk < 0 || p.Trunk >= v.topology.Trunks {
			v.wrong("%s: trunk %d does not exist, there are %d, counted from 0", who, p.Trunk, v.topology.Trunks)
		}
	}
	known := slices.ContainsFunc(v.topology.Workers, func(w Worker) bool { return w.Name == c.Worker })
	if c.Worker != "" && !known {
		v.wrong("%s: worker %q does not exist", who, c.Worker)
	}
}

func called(kind string, i int, name string) string {
	if name == "" {
		return fmt.Sprintf("%s number %d", kind, i+1)
	}
	return kind + " " + name
}
