package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Acceleration is how a machine's processors are made.
type Acceleration struct {
	// Name is QEMU's: "kvm" or "tcg".
	Name string
	// Reason tells a person why, in a few words.
	Reason string
}

// DetectAcceleration chooses KVM where a stock kernel runs under it and TCG, which is slow and works everywhere, where
// not. Root is the root of the machine's file system: "/".
func DetectAcceleration(root string) Acceleration {
	const tcg, kvm = "tcg", "kvm"
	vendor := ""
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		if _, err := os.Stat(filepath.Join(root, "sys/module", module)); err == nil {
			vendor = module
		}
	}
	device := filepath.Join(root, "dev/kvm")
	if vendor == "" {
		// Other modules can be behind the device, kvm_pvm for one: a stock kernel hangs under it.
		others, _ := filepath.Glob(filepath.Join(root, "sys/module/kvm_*"))
		if len(others) > 0 {
			return Acceleration{tcg, fmt.Sprintf("%s does not run stock kernels", strings.TrimPrefix(others[0], filepath.Join(root, "sys/module")+"/"))}
		}
		return Acceleration{tcg, "this machine has no KVM"}
	}
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return Acceleration{tcg, fmt.Sprintf("%s is loaded, but %v", vendor, err)}
	}
	file.Close()
	return Acceleration{kvm, vendor}
}

// arguments returns the options for QEMU.
func (a Acceleration) arguments() []string {
	if a.Name == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
}
