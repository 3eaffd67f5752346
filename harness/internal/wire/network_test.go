package wire

import (
	"maps"
	"os"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

func TestAWorkerInTheHostIsItsOneInterface(t *testing.T) {
	g := NewWithT(t)
	file, err := os.Open("/proc/thread-self/ns/net")
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close() //nolint:errcheck // only read
	n := &Network{
		plan:  Plan{Workers: []topology.Worker{{Name: "w3", InHost: true}}},
		nodes: []*namespace{{node: HostNode, file: file}, {node: "w3", file: file}},
	}
	nodes, err := n.Inodes()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(slices.Collect(maps.Values(nodes))).To(Equal([]string{HostNode}))
	g.Expect(n.NodeOf(HostNode, "eth0")).To(Equal("w3"))
	g.Expect(n.NodeOf(HostNode, "trunk0")).To(Equal(HostNode))
	g.Expect(n.NodeOf("c0", "eth0")).To(Equal("c0"))
	n.plan.Workers = nil
	g.Expect(n.NodeOf(HostNode, "eth0")).To(Equal(HostNode))
}
