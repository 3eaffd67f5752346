package e2e

import (
	"os"
	"time"
)

// emulated says that the suite runs on emulated processors, which take 10 to 20 times as long.
func emulated() bool { return os.Getenv("VLANDEMUX_VM_ACCEL") == "tcg" }

// specTimeout bounds one spec, lab included; most take two seconds.
func specTimeout() time.Duration {
	const timeout = 2 * time.Minute
	if emulated() {
		return 8 * timeout
	}
	return timeout
}
