package harness

import (
	"context"
	"fmt"

	"github.com/vlandemux/vlandemux/harness/internal/fault"
)

// Fault breaks one frame that leaves an interface, or the interface.
type Fault = fault.Fault

// The kinds of a [Fault].
const (
	FaultDrop    = fault.Drop
	FaultDouble  = fault.Double
	FaultCorrupt = fault.Corrupt
	FaultDelay   = fault.Delay // its By is how long
	FaultDown    = fault.Down  // of the interface itself
	FaultMTU     = fault.MTU   // its MTU
)

// Fault breaks one of the frames that leave an interface of the lab, or the interface, by the name of its
// tap, such as "switch/trunk0". The ledger is not told: it has to find it.
func (w *Window) Fault(ctx context.Context, tap string, f Fault) error {
	point, there := w.points[tap]
	if !there {
		return fmt.Errorf("installing a fault at %s: the lab has no such interface", tap)
	}
	return w.lab.host.agent.Fault(ctx, point, f)
}
