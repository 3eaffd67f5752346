package engine_test

import (
	"testing"

	"github.com/docker/docker/client"
	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// Capability sets as /proc/PID/status prints them: bit 12 is NET_ADMIN, 13 NET_RAW, 21 SYS_ADMIN, 34 SYSLOG.
const (
	netRaw       = "0000000000002000"
	netAndSystem = "0000000400203000"
)

func TestContainersHoldTheLeastPrivilegeOfTheirKind(t *testing.T) {
	tests := []struct {
		kind         engine.Kind
		capabilities string
		ownProcesses bool // has a process namespace of its own
		anyPort      string
	}{
		{engine.KindHost, netAndSystem, false, ""},
		{engine.KindTest, netAndSystem, true, ""},
		{engine.KindClient, netRaw, true, "0"},
		{engine.KindWorker, netRaw, true, "0"},
	}
	for _, test := range tests {
		t.Run(string(test.kind), func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			l := newLab(t)
			c, r, _ := l.start(t, l.spec(test.kind))
			for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
				g.Expect(r.Status).To(HaveKeyWithValue(set, test.capabilities))
			}
			g.Expect(r.Status).To(HaveKeyWithValue("NoNewPrivs", "1"))
			g.Expect(r.Status).To(HaveKeyWithValue("Seccomp", "0"), "no filter to compile")
			g.Expect(r.RootReadOnly).To(BeTrue(), "root is read-only")
			g.Expect(r.RunWritable).To(BeTrue(), "/run can be written to")
			g.Expect(r.Interfaces).To(Equal([]string{"lo"}))
			if test.ownProcesses {
				g.Expect(r.PID).To(Equal(1))
				g.Expect(r.Processes).To(Equal([]int{1}))
			} else {
				g.Expect(r.PID).To(Equal(c.PID))
				g.Expect(r.Processes).To(ContainElement(1))
			}
			g.Expect(r.Sysctls).To(HaveKeyWithValue("net.ipv6.conf.all.disable_ipv6", "1"))
			g.Expect(r.Sysctls).To(HaveKeyWithValue("net.ipv6.conf.default.disable_ipv6", "1"))
			if test.anyPort != "" {
				g.Expect(r.Sysctls).To(HaveKeyWithValue("net.ipv4.ip_unprivileged_port_start", test.anyPort))
			}
			api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
			g.Expect(err).NotTo(HaveOccurred())
			defer api.Close()
			info, err := api.ContainerInspect(t.Context(), c.ID)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(info.HostConfig.Privileged).To(BeFalse())
			g.Expect(string(info.HostConfig.NetworkMode)).To(Equal("none"))
			g.Expect(info.HostConfig.LogConfig.Type).To(Equal("none"))
			g.Expect(info.Mounts).To(BeEmpty())
			g.Expect(info.Config.Labels).To(HaveKeyWithValue(engine.Label, string(test.kind)))
			g.Expect(c.Close(t.Context())).To(Succeed())
		})
	}
}

func TestSpecOptions(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	spec := l.spec(engine.KindWorker)
	spec.IPv6 = true
	spec.Env = []string{"LAB=one"}
	spec.WorkingDir = "/scratch/deep"
	spec.Tmpfs = map[string]string{"/scratch/deep": "rw"}
	c, r, _ := l.start(t, spec)
	g.Expect(r.Sysctls).To(HaveKeyWithValue("net.ipv6.conf.all.disable_ipv6", "0"))
	g.Expect(r.Sysctls).To(HaveKeyWithValue("net.ipv6.conf.default.disable_ipv6", "0"))
	g.Expect(r.Env).To(ContainElement("LAB=one"))
	g.Expect(r.Folder).To(Equal("/scratch/deep"))
	g.Expect(c.Close(t.Context())).To(Succeed())
}
