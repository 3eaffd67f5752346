package wire

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// Each kind of worker is up once it is laid, and leaves nothing. The TAP is the pool scenario's: it takes /dev/net/tun, which these containers lack.
func TestWorkersOfEachKind(t *testing.T) {
	onEachSwitch(t, func(t *testing.T, kind string) {
		for _, worker := range []string{topology.WorkerVeth, topology.WorkerMACVLAN, topology.WorkerBridgePort, topology.WorkerIFB} {
			t.Run(worker, func(t *testing.T) {
				g := NewWithT(t)
				p := newPlan(t, kind, vlan2)
				p.Workers[0].Kind = worker
				states := byName(t, lay(t, p))
				for _, end := range []string{"host/w0", "w0/eth0"} {
					g.Expect(states).To(HaveKey(end))
					g.Expect(states[end].Up).To(BeTrue(), end)
					g.Expect(states[end].Carrier).To(BeTrue(), end)
				}
			})
		}
	})
}
