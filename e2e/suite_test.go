// Package e2e turns every scenario into Ginkgo specs and runs them in Docker.
//
//	go tool ginkgo ./e2e                         all of them
//	go tool ginkgo --focus "MAC move" ./e2e      one scenario
//	VLANDEMUX_SWITCH=8021q,tc,bridge go tool ginkgo ./e2e
//	                                             each case on each of these switches
package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/engine"
	"github.com/vlandemux/vlandemux/harness/images"
	"github.com/vlandemux/vlandemux/harness/probe"
	"github.com/vlandemux/vlandemux/scenarios"
)

func TestE2E(t *testing.T) {
	gomega.RegisterFailHandler(ginkgo.Fail)
	captures, err := fromRoot(os.Getenv("CAPTURES"))
	check(err)
	reports, err := fromRoot(cmp.Or(os.Getenv("VLANDEMUX_REPORTS"), "reports"))
	check(err)
	switches, err := switchKinds()
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{captures: captures, reports: reports, switches: switches, engine: engineVersion(t.Context())}
	ginkgo.SynchronizedBeforeSuite(s.prepare, s.connect)
	ginkgo.AfterSuite(s.disconnect)
	ginkgo.ReportAfterSuite("what it ran on", s.reportRun)
	for _, scenario := range scenarios.All() {
		s.describe(scenario)
	}
	ginkgo.RunSpecs(t, "vlandemux")
}

// suite is what the specs of one Ginkgo process share.
type suite struct {
	harness  *harness.Harness // set by connect
	captures string           // folder of those to replay, "" for the project's own
	frames   []probe.Frame    // of captures; set by connect
	reports  string           // folder the evidence of failed specs goes to
	switches []harness.SwitchKind
	engine   engine.Version // empty if it did not answer
}

// prepare runs once, in Ginkgo's first process: it sees that the captures can be
// read, and builds and loads the images.
func (s *suite) prepare(ctx context.Context) []byte {
	_, err := s.readCaptures()
	check(err)
	h, err := harness.Connect(ctx, harness.Options{Log: ginkgo.GinkgoWriter})
	check(err)
	defer h.Close() //nolint:errcheck // only a connection
	set, err := json.Marshal(h.Images())
	check(err)
	return set
}

// connect runs in every process, with what prepare returned.
func (s *suite) connect(ctx context.Context, prepared []byte) {
	var set images.Set
	check(json.Unmarshal(prepared, &set))
	var err error
	s.frames, err = s.readCaptures()
	check(err)
	s.harness, err = harness.Connect(ctx, harness.Options{Images: set, Log: ginkgo.GinkgoWriter})
	check(err)
}

func (s *suite) disconnect() {
	if s.harness != nil {
		check(s.harness.Close())
	}
}

func (s *suite) readCaptures() ([]probe.Frame, error) {
	if s.captures == "" {
		return probe.ReadCaptures(probe.EmbeddedCaptures())
	}
	frames, err := probe.ReadCaptures(os.DirFS(s.captures))
	if err != nil {
		return nil, fmt.Errorf("CAPTURES=%s: %w", s.captures, err)
	}
	return frames, nil
}

// fromRoot makes a path absolute. People type paths from the module's root,
// while Go runs the suite in the folder below it.
func fromRoot(path string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	return filepath.Abs(filepath.Join("..", path))
}
