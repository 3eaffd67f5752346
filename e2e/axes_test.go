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

// points are those that apply to a case: attach modes × switches × address families.
func (s *suite) points(c scenarios.Case) []point {
	families := c.Families
	if len(families) == 0 {
		families = []scenarios.Family{scenarios.IPv4}
	}
	var points []point
	for _, attach := range attachModes(s.engine.Kernel) {
		for _, kind := range s.switches {
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

// attachModes are those a kernel has to have.
func attachModes(kernel string) []demux.AttachMode {
	if linux.TCX.In(kernel) {
		return []demux.AttachMode{demux.AttachTCX, demux.AttachClsact}
	}
	return []demux.AttachMode{demux.AttachClsact}
}
