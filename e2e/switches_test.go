package e2e

import "github.com/vlandemux/vlandemux/harness"

// switchKinds are the switches that every case is run on: those that
// VLANDEMUX_SWITCH names, else one that each lab chooses.
func switchKinds() ([]harness.SwitchKind, error) {
	named, err := harness.SwitchesFromEnvironment()
	if err != nil || len(named) > 0 {
		return named, err
	}
	return []harness.SwitchKind{harness.SwitchAuto}, nil
}
