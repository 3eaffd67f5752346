package harness

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// SwitchKind names how the lab's switch is built: "8021q" of the kernel's VLAN
// subinterfaces and one bridge a VLAN, "bridge" of one VLAN-filtering bridge, "tc"
// of a learning switch in BPF. All behave the same.
type SwitchKind string

// SwitchAuto takes the kind that VLANDEMUX_SWITCH names where it is set, else the
// first of 8021q, tc and bridge that the engine's kernel can run.
const SwitchAuto SwitchKind = ""

// switchVariable is the environment variable that forces kinds of switch.
const switchVariable = "VLANDEMUX_SWITCH"

// SwitchesFromEnvironment are the kinds of switch that VLANDEMUX_SWITCH names,
// with commas between them, or "all" of them: none if it is not set, [SwitchAuto]
// being the choice then.
func SwitchesFromEnvironment() ([]SwitchKind, error) {
	text := os.Getenv(switchVariable)
	if text == "" {
		return nil, nil
	}
	if text == "all" {
		text = strings.Join(wire.SwitchKinds(), ",")
	}
	names, err := listed(switchVariable, text)
	if err != nil {
		return nil, err
	}
	var kinds []SwitchKind
	for _, name := range names {
		if !slices.Contains(wire.SwitchKinds(), name) {
			return nil, fmt.Errorf("%s=%s: there is no switch %q; name one or more of %s, with commas between them",
				switchVariable, text, name, strings.Join(wire.SwitchKinds(), ", "))
		}
		kinds = append(kinds, SwitchKind(name))
	}
	return kinds, nil
}

// chooseSwitch replaces [SwitchAuto] by a kind, and refuses a kind the kernel lacks; missing says why, "" if it does not.
func (l *Lab) chooseSwitch(missing func(SwitchKind) (string, error)) (SwitchKind, error) {
	kind, wanted := l.Topology.Switch, "the topology"
	if kind == SwitchAuto {
		named, err := SwitchesFromEnvironment()
		switch {
		case err != nil:
			return "", err
		case len(named) > 1:
			return "", fmt.Errorf("%s=%s names %d switches, but a lab has one: name one, or run the suite, which makes a spec of each",
				switchVariable, os.Getenv(switchVariable), len(named))
		case len(named) == 0:
			return l.preferredSwitch(missing)
		}
		kind, wanted = named[0], switchVariable
	}
	reason, err := missing(kind)
	if err == nil && reason != "" {
		err = fmt.Errorf("%s asks for the switch %q, which the kernel %s of the Docker engine cannot run: %s", wanted, kind, l.Features.Kernel, reason)
	}
	return kind, err
}

// preferredSwitch looks no further than the first that the kernel can run.
func (l *Lab) preferredSwitch(missing func(SwitchKind) (string, error)) (SwitchKind, error) {
	var reasons []error
	for _, kind := range wire.SwitchKinds() {
		reason, err := missing(SwitchKind(kind))
		if err != nil || reason == "" {
			return SwitchKind(kind), err
		}
		reasons = append(reasons, fmt.Errorf("%s: %s", kind, reason))
	}
	return "", fmt.Errorf("the kernel %s of the Docker engine can run no kind of switch:\n%w", l.Features.Kernel, errors.Join(reasons...))
}
