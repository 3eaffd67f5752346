package badplaces

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/docker/api/types/container"
	. "github.com/onsi/gomega"
)

func TestNoSocket(t *testing.T) {
	r := newRun(t, "unix:///nowhere/docker.sock")
	g := NewWithT(t)
	g.Expect(r.Start()).To(Succeed())
	r.expectOneComplaint(g, "unix:///nowhere/docker.sock", "install Docker and start it")
}

func TestSocketWithoutPermission(t *testing.T) {
	g := NewWithT(t)
	p := newProxy(t, rules{})
	g.Expect(os.Chmod(p.socket, 0)).To(Succeed())
	r := newRun(t, "unix://"+p.socket)
	if os.Getuid() == 0 { // root may open everything, so somebody else tries
		r.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		r.Dir = "/"
		reports, err := os.MkdirTemp("", "reports")
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(func() { g.Expect(os.RemoveAll(reports)).To(Succeed()) })
		g.Expect(os.Chmod(reports, 0o777)).To(Succeed())
		r.Env = append(r.Env, "VLANDEMUX_REPORTS="+reports)
	}
	g.Expect(r.Start()).To(Succeed())
	r.expectOneComplaint(g, "permission denied", "usermod -aG docker")
}

func TestNoSpecMatches(t *testing.T) {
	for _, filter := range []string{"-ginkgo.focus=token ring", "-ginkgo.label-filter=token-ring"} {
		g := NewWithT(t)
		r := newRun(t, "")
		r.Args = append(r.Args[:1], "-ginkgo.no-color", filter)
		g.Expect(r.Start()).To(Succeed())
		r.expectOneComplaint(g, "to choose from", "MAC move", "--dry-run")
	}
}

// noBPF is a seccomp profile under which bpf(2) is what it is on a kernel without it: not there.
const noBPF = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}`

func TestRefusals(t *testing.T) {
	const caps = "OCI runtime create failed: unable to apply caps: operation not permitted: unknown"
	const full = "write /var/lib/docker/tmp/x: no space left on device"
	tests := []struct {
		name string
		env  string
		how  rules
		says []string
	}{
		{"a daemon that refuses the capabilities", "", rules{refuse: func(call string) (int, string) {
			if strings.HasSuffix(call, "/start") {
				return 400, caps
			}
			return 0, ""
		}}, []string{caps, "use an engine that has them"}},
		{"a full disk while an image is loaded", "", rules{refuse: func(call string) (int, string) {
			switch {
			case strings.HasPrefix(call, "GET /images/"):
				return 404, "no such image"
			case call == "POST /images/load":
				return 500, full
			}
			return 0, ""
		}}, []string{full, "make room in"}},
		{"a kernel without BPF", "VLANDEMUX_SWITCH=tc", rules{change: func(r *container.CreateRequest) {
			r.HostConfig.SecurityOpt = append(r.HostConfig.SecurityOpt, "seccomp="+noBPF)
		}}, []string{"CONFIG_BPF_SYSCALL"}},
		{"a switch that there is not", "VLANDEMUX_SWITCH=token-ring", rules{}, []string{`there is no switch "token-ring"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			p := newProxy(t, test.how)
			r := newRun(t, "unix://"+p.socket)
			r.Env = append(r.Env, test.env)
			g.Expect(r.Start()).To(Succeed())
			r.expectOneComplaint(g, test.says...)
			g.Expect(p.left(t.Context())).To(BeEmpty())
		})
	}
}
