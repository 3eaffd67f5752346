package e2e

import (
	"os"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/scenarios"
)

// point is where on the axes one spec of a case is run, and the labels that say so.
type point struct {
	scenarios.Variant
	labels []string
}

// pairsOnly asks for fewer specs, for emulated processors: a case is run on each switch, and in each attach mode,
// but not on each switch in each mode.
func pairsOnly() bool { return os.Getenv("VLANDEMUX_AXES") == "pairs" }

// points are those that apply to a case: attach modes × switches × address families.
func (s *suite) points(c scenarios.Case) []point {
	families := c.Families
	if len(families) == 0 {
		families = []scenarios.Family{scenarios.IPv4}
	}
	var points []point
	modes := attachModes(s.kernels())
	for i, attach := range modes {
		for j, kind := range s.switches {
			if pairsOnly() && len(s.switches) >= len(modes) && j%len(modes) != i {
				continue
			}
			for _, family := range families {
				labels := []string{string(attach)}
				if kind != harness.SwitchAuto {
					labels = append(labels, string(kind))
				}
				if len(c.Families) > 0 {
					labels = append(labels, string(family))
				}
				points = append(points, point{scenarios.Variant{Attach: attach, Switch: kind, Family: family, Emulated: emulated(), Full: os.Getenv("FULL") == "1"}, labels})
			}
		}
	}
	return points
}

// switchKinds are the switches that every case is run on: those that
// VLANDEMUX_SWITCH names, else one that each lab chooses.
func switchKinds() ([]harness.SwitchKind, error) {
	named, err := harness.SwitchesFromEnvironment()
	if err != nil || len(named) > 0 {
		return named, err
	}
	return []harness.SwitchKind{harness.SwitchAuto}, nil
}

// attachModes are those that every one of the kernels has to have.
func attachModes(kernels []string) []demux.AttachMode {
	for _, kernel := range kernels {
		if !linux.TCX.In(kernel) {
			return []demux.AttachMode{demux.AttachClsact}
		}
	}
	return []demux.AttachMode{demux.AttachTCX, demux.AttachClsact}
}
