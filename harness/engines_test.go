package harness_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

func TestEnginesFromEnvironment(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	scontrol := "#!/bin/sh\n[ \"$*\" = 'show hostnames n[1-2]' ] && printf 'n1\\nn2\\n' || { echo 'Invalid hostlist' >&2; exit 1; }\n"
	NewWithT(t).Expect(os.WriteFile(filepath.Join(bin, "scontrol"), []byte(scontrol), 0o755)).To(Succeed())
	for _, test := range []struct {
		engines, nodes, form string
		want                 []string
		refused              string
	}{
		{engines: "", want: []string{""}},
		{engines: "tcp://a:2376, rack,ssh://c", want: []string{"tcp://a:2376", "rack", "ssh://c"}},
		{engines: "tcp://a:2376,,rack", refused: "an address is missing"},
		{engines: "rack,rack", refused: "rack is there twice"},
		{engines: "slurm", nodes: "n[1-2]", want: []string{"ssh://n1", "ssh://n2"}},
		{engines: "slurm", nodes: "n[1-2]", form: "tcp://{node}.rack:2376", want: []string{"tcp://n1.rack:2376", "tcp://n2.rack:2376"}},
		{engines: "slurm", nodes: "n[1-2]", form: "tcp://n:2376", refused: "{node} is missing"},
		{engines: "slurm", nodes: "else", refused: "scontrol show hostnames else: exit status 1: Invalid hostlist"},
		{engines: "slurm", refused: "salloc -K"},
	} {
		t.Run(test.engines+test.form, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv("ENGINES", test.engines)
			t.Setenv("SLURM_JOB_NODELIST", test.nodes)
			t.Setenv("ENGINE_OF_NODE", test.form)
			got, err := harness.EnginesFromEnvironment(t.Context())
			if test.refused != "" {
				g.Expect(err).To(MatchError(ContainSubstring(test.refused)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(test.want))
		})
	}
}

// pretendEngine answers as an engine with that ID on that kernel, and returns its address.
func pretendEngine(t *testing.T, id, kernel string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"Version":"28.5.2","ApiVersion":"1.51","Os":"linux","KernelVersion":%q,"ID":%q,"Name":"rack"}`, kernel, id)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http://", "tcp://", 1)
}

func TestAskEngines(t *testing.T) {
	g := NewWithT(t)
	one, again, other := pretendEngine(t, "A", "6.1.0"), pretendEngine(t, "A", "6.1.0"), pretendEngine(t, "B", "6.12.1")
	versions, err := harness.AskEngines(t.Context(), []string{one, pretendEngine(t, "C", "6.1.0")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(versions).To(HaveEach(HaveField("Kernel", "6.1.0")))
	_, err = harness.AskEngines(t.Context(), []string{one, other, again})
	g.Expect(err).To(MatchError(And(ContainSubstring("one engine twice, as "+one+" and as "+again), ContainSubstring("A on rack"))))
	_, err = harness.AskEngines(t.Context(), []string{one, "http://x", other, "nobody"})
	g.Expect(err).To(MatchError(And(ContainSubstring("http://x"), ContainSubstring(`"nobody"`), Not(ContainSubstring("kernels")))))
	_, err = harness.AskEngines(t.Context(), []string{one, other})
	g.Expect(err).To(MatchError(ContainSubstring("different kernels")))
	t.Setenv("ENGINES_MIXED", "1")
	g.Expect(harness.AskEngines(t.Context(), []string{one, other})).To(HaveLen(2))
}

func TestEnginesWithDifferentKernels(t *testing.T) {
	g := NewWithT(t)
	addresses := []string{"tcp://a", "tcp://b"}
	one, other := harness.EngineVersion{Engine: "28.5.2", Kernel: "6.1.0"}, harness.EngineVersion{Engine: "29.0.1", Kernel: "6.12.1"}
	g.Expect(harness.SameKernel(addresses, []harness.EngineVersion{one, one})).To(Succeed())
	g.Expect(harness.SameKernel(addresses, []harness.EngineVersion{one, other})).To(MatchError(And(
		MatchRegexp(`tcp://a +28\.5\.2 +6\.1\.0`), MatchRegexp(`tcp://b +29\.0\.1 +6\.12\.1`), ContainSubstring("ENGINES_MIXED=1"))))
}
