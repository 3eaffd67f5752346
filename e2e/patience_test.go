package e2e

import (
	"os"
	"time"
)

// specTimeout bounds one spec, lab included; most take two seconds. Emulated
// processors take 10 to 20 times as long, so specs get more time there, and
// nothing else of them changes.
func specTimeout() time.Duration {
	const timeout = 2 * time.Minute
	if os.Getenv("VLANDEMUX_VM_ACCEL") == "tcg" {
		return 8 * timeout
	}
	return timeout
}
