package scenarios_test

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/scenarios"
)

// labels are those that --label-filter has to find.
func labels() []string {
	return []string{
		"dhcp", "servers", "arp", "link-local", "fragments", "duplicate-mac",
		"inhabited-vlan", "swap", "two-movers", "trunk-down", "move-during-upgrade",
		"tunnel", "sctp", "big-tcp", "overload", "mtu", "worker-replaced", "upgrade",
		"pool", "tap-worker",
		"ethertypes", "qinq",
		"flood-unknown", "spoof", "wrong-place", "age", "truncated",
		"fault", "worker-killed", "demo",
		"vlans-4094", "clients-4096", "full-map",
	}
}

func TestEveryLabelSelectsACaseAndEveryCasesLabelIsKnown(t *testing.T) {
	g := NewWithT(t)
	var have []string
	for _, s := range scenarios.All() {
		for _, c := range s.Cases {
			have = append(have, slices.Concat(s.Labels, c.Labels)...)
		}
	}
	slices.Sort(have)
	g.Expect(slices.Compact(have)).To(ConsistOf(labels()))
}
