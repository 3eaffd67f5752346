package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

const (
	maxNameLength = 15    // IFNAMSIZ without the terminating zero
	minMTU        = 68    // IPv4's least
	minMTUIPv6    = 1280  // IPv6's least
	maxMTU        = 65527 // 65535, veth's most, less TrunkHeadroom
)

// Names of the switch's inner interfaces begin with these, so no client's or
// trunk's may.
const (
	bridgePrefix = "br."
	vlanPrefix   = "vl."
)

// Validate reports every mistake of a plan in one error. It looks at nothing
// but the plan.
func (p *Plan) Validate() error {
	v := validator{plan: p, nodes: map[string]string{}, host: map[string]string{}, inSwitch: map[string]string{}, far: map[string]string{}}
	v.general()
	for i, t := range p.Trunks {
		v.trunk(i, t)
	}
	for i := range p.Ports {
		v.port(i, &p.Ports[i])
	}
	for i := range p.Workers {
		v.worker(i, &p.Workers[i])
	}
	return errors.Join(v.mistakes...)
}

type validator struct {
	plan     *Plan
	mistakes []error
	nodes    map[string]string // name → what has it, for each of these
	host     map[string]string
	inSwitch map[string]string
	far      map[string]string
}

func (v *validator) add(format string, args ...any) {
	v.mistakes = append(v.mistakes, fmt.Errorf("plan: "+format, args...))
}

func (v *validator) general() {
	p := v.plan
	if !slices.Contains(SwitchKinds(), p.Switch) {
		v.add("switch is %q, must be one of %q", p.Switch, SwitchKinds())
	}
	least := minMTU
	if p.IPv6 {
		least = minMTUIPv6
	}
	if p.MTU != 0 && (p.MTU < least || p.MTU > maxMTU) {
		v.add("MTU is %d, must be from %d to %d", p.MTU, least, maxMTU)
	}
	if len(p.Trunks) == 0 {
		v.add("there is no trunk")
	}
}

func (v *validator) trunk(i int, t Trunk) {
	what := fmt.Sprintf("trunk %d (%q)", i, t.Name)
	v.name(what, t.Name)
	v.unique(v.host, what, "the host", t.Name)
	v.unique(v.inSwitch, what, "the switch", t.Name)
}

func (v *validator) port(i int, p *Port) {
	what := fmt.Sprintf("port %d (%q)", i, p.Client)
	v.name(what, p.Client)
	v.unique(v.nodes, what, "the lab", p.Client)
	v.unique(v.inSwitch, what, "the switch", p.Client)
	v.place(what, p.Trunk, p.VLAN)
	v.node(what, p.PID, p.Interface)
	if err := p.MAC.Validate(); err != nil {
		v.add("%s: %w", what, err)
	}
	v.addresses(what, p.Addresses, p.Neighbours)
}

func (v *validator) worker(i int, w *Worker) {
	what := fmt.Sprintf("worker %d (%q)", i, w.Name)
	v.name(what, w.Name)
	v.unique(v.nodes, what, "the lab", w.Name)
	v.unique(v.host, what, "the host", w.Name)
	v.node(what, w.PID, w.Interface)
	if err := w.MAC.Validate(); err != nil {
		v.add("%s: %w", what, err)
	}
	v.addresses(what, w.Addresses, w.Neighbours)
}

func (v *validator) name(what, name string) {
	if reason := badName(name); reason != "" {
		v.add("%s: name %s", what, reason)
	}
	if name == HostNode || name == SwitchNode {
		v.add("%s: name is taken by the lab itself", what)
	}
}

// badName is empty if the kernel takes name for an interface's and nothing of
// the lab's own has it.
func badName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxNameLength:
		return fmt.Sprintf("has %d characters, interface names have at most %d", len(name), maxNameLength)
	case name == "." || name == ".." || name == "lo" || name == "all" || name == "default":
		return "is one the kernel keeps for itself"
	case strings.ContainsAny(name, "/:%"):
		return "holds one of / : %, which interface names may not"
	case strings.HasPrefix(name, bridgePrefix) || strings.HasPrefix(name, vlanPrefix):
		return fmt.Sprintf("begins with %q or %q, which are the switch's", bridgePrefix, vlanPrefix)
	}
	for _, r := range name {
		if r > unicode.MaxASCII || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return fmt.Sprintf("holds %q, which interface names should not", r)
		}
	}
	return ""
}

func (v *validator) unique(seen map[string]string, what, where, name string) {
	if other, ok := seen[name]; ok && other != what {
		v.add("%s: %s already uses that name in %s", what, other, where)
		return
	}
	seen[name] = what
}

func (v *validator) node(what string, pid int, iface string) {
	if pid <= 0 {
		v.add("%s: process ID is %d", what, pid)
	}
	if reason := badName(iface); iface != "" && reason != "" {
		v.add("%s: interface %q: name %s", what, iface, reason)
	}
	v.unique(v.far, what, fmt.Sprintf("process %d", pid), fmt.Sprintf("%d/%s", pid, orEth0(iface)))
}

func (v *validator) place(what string, trunk int, vlan VLAN) {
	if err := v.plan.validatePlace(trunk, vlan); err != nil {
		v.add("%s: %w", what, err)
	}
}

func (p *Plan) validatePlace(trunk int, vlan VLAN) error {
	var mistakes []error
	if trunk < 0 || trunk >= len(p.Trunks) {
		mistakes = append(mistakes, fmt.Errorf("trunk %d does not exist, there are %d", trunk, len(p.Trunks)))
	}
	if vlan.Protocol != Protocol8021Q && vlan.Protocol != Protocol8021AD {
		mistakes = append(mistakes, fmt.Errorf("VLAN protocol is %#04x, must be %#04x (802.1Q) or %#04x (802.1ad)", vlan.Protocol, Protocol8021Q, Protocol8021AD))
	}
	if vlan.VID < 1 || vlan.VID > 4094 {
		mistakes = append(mistakes, fmt.Errorf("VID is %d, must be from 1 to 4094", vlan.VID))
	}
	return errors.Join(mistakes...)
}

func (v *validator) addresses(what string, addresses []netip.Prefix, neighbours []Neighbour) {
	seen := map[netip.Addr]bool{}
	for _, a := range addresses {
		switch {
		case !a.IsValid():
			v.add("%s: address %v is not valid", what, a)
			continue
		case a.Addr().Is6() && !v.plan.IPv6:
			v.add("%s: address %v is IPv6's and the plan has IPv6 off", what, a)
		case a.Addr().Is4In6() || a.Addr().Zone() != "":
			v.add("%s: address %v has an IPv4-mapped address or a zone", what, a)
		}
		if seen[a.Addr()] {
			v.add("%s: address %v is given twice", what, a.Addr())
		}
		seen[a.Addr()] = true
	}
	for _, n := range neighbours {
		switch {
		case !n.Address.IsValid():
			v.add("%s: a neighbour's address is not valid", what)
		case n.Address.Is6() && !v.plan.IPv6:
			v.add("%s: neighbour %v is IPv6's and the plan has IPv6 off", what, n.Address)
		case n.Address.Is4In6() || n.Address.Zone() != "":
			v.add("%s: neighbour %v has an IPv4-mapped address or a zone", what, n.Address)
		}
		if err := n.MAC.Validate(); err != nil {
			v.add("%s: neighbour %v: %w", what, n.Address, err)
		}
	}
}

func orEth0(name string) string {
	if name == "" {
		return "eth0"
	}
	return name
}
