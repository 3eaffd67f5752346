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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/e2e/internal/keep"
	"github.com/vlandemux/vlandemux/e2e/internal/page"
	"github.com/vlandemux/vlandemux/e2e/internal/shard"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/scenarios"
)

func TestMain(m *testing.M) {
	harness.StandGuard()
	os.Exit(m.Run())
}

func TestE2E(t *testing.T) {
	if shards := os.Getenv("SHARDS"); shards != "" {
		(&suite{}).sumUp(t, shards)
		return
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	config, reporter := ginkgo.GinkgoConfiguration()
	s, err := newSuite(t.Context(), &config)
	if err != nil { // of a process that ends without telling Ginkgo why, Ginkgo tells at length that it has ended
		ginkgo.ReportBeforeSuite(func(ginkgo.Report) { ginkgo.Fail(err.Error()) })
		ginkgo.RunSpecs(t, "vlandemux", config, reporter)
		t.FailNow() // Ginkgo asks the first process alone
	}
	ginkgo.SynchronizedBeforeSuite(s.prepare, s.connect)
	ginkgo.ReportBeforeSuite(s.plan)
	ginkgo.ReportBeforeEach(s.tellStart)
	ginkgo.ReportAfterEach(s.tellEnd)
	ginkgo.ReportAfterEach(s.watchEngine)
	ginkgo.AfterSuite(s.disconnect)
	ginkgo.ReportAfterSuite("what it ran on", s.reportRun)
	for _, scenario := range scenarios.All() {
		s.describe(scenario)
	}
	ginkgo.RunSpecs(t, "vlandemux", config, reporter)
}

// newSuite reads what a run is to be like, and changes Ginkgo's configuration accordingly.
func newSuite(ctx context.Context, config *types.SuiteConfig) (*suite, error) {
	s := &suite{interruption: newInterruption(), guard: harness.StandGuard()}
	var own shard.Shard
	var err error
	if s.captures, err = fromRoot(os.Getenv("CAPTURES")); err != nil {
		return nil, err
	}
	if s.reports, err = fromRoot(cmp.Or(os.Getenv("VLANDEMUX_REPORTS"), "reports")); err != nil {
		return nil, err
	}
	if s.switches, err = switchKinds(); err != nil {
		return nil, err
	}
	if own, err = shard.Parse(os.Getenv("SHARD")); err != nil {
		return nil, err
	}
	if s.engines, err = findEngines(ctx); err != nil {
		return nil, err
	}
	if s.history, err = readHistory(s.reports); err != nil {
		return nil, err
	}
	if s.progress, err = openProgress(); err != nil {
		return nil, err
	}
	s.first = s.priorities()
	s.pack(own, config)
	if err := s.spread(config); err != nil {
		return nil, err
	}
	return s, s.keepLabs(config)
}

// suite is what the specs of one Ginkgo process share.
type suite struct {
	*interruption
	*engines
	guard    harness.Guard
	harness  *harness.Harness // set by prepare or connect
	captures string           // folder of those to replay, "" for the project's own
	frames   []harness.Frame  // of captures; set by connect
	skipped  []string         // files of captures that are none; set by prepare
	reports  string           // folder the evidence of failed specs goes to
	progress *progress
	keep     keep.Wish
	specs    []string     // their texts
	history  page.History // of the runs before
	switches []harness.SwitchKind
	first    map[string]ginkgo.SpecPriority // of specs, by their text
	shards   map[string]ginkgo.Labels       // of specs, by their text; empty unless the suite is divided
}

// prepare runs once, in Ginkgo's first process: it sees that the captures can be
// read, builds and loads the images, and that a lab can run here.
func (s *suite) prepare(ctx context.Context) []byte {
	s.takeOver()
	ctx, release := s.bound(ctx)
	defer release()
	_, skipped, err := s.readCaptures()
	s.check(err)
	s.skipped = skipped
	s.check(s.clearReports())
	ready, err := json.Marshal(s.prepareEngines(ctx))
	s.check(err)
	return ready
}

// clearReports sees that reports can be written. What an earlier run has left there is not this one's evidence.
func (s *suite) clearReports() error {
	err := errors.Join(os.RemoveAll(filepath.Join(s.reports, "evidence")), os.MkdirAll(s.reports, 0o755))
	if err == nil {
		err = unix.Access(s.reports, unix.W_OK)
	}
	if err != nil {
		return fmt.Errorf("preparing %s for reports: %w; name another folder (make e2e REPORTS=DIR, VLANDEMUX_REPORTS for ginkgo)", shown(s.reports), err)
	}
	return nil
}

// tryOut runs the smallest lab there is on each switch, so that an engine or a
// kernel that can run none is told once, not by every spec. Its containers wait
// for the first spec.
func (s *suite) tryOut(ctx context.Context, h *harness.Harness) error {
	ctx, release := h.WhileAlive(ctx)
	defer release()
	s.progress.tell("prepare", fmt.Sprintf("a first lab is tried out, where vlandemux has %v to start", harness.DemuxStart))
	defer s.progress.tell("prepared")
	for _, kind := range s.switches {
		lab, err := h.Start(ctx, harness.Topology{
			Switch:  kind,
			Clients: []harness.Client{{Name: "c0", MAC: harness.MAC{0x02, 5: 0}, Place: harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: 2}}, Worker: "w0"}},
			Workers: []harness.Worker{{Name: "w0", MAC: harness.MAC{0x02, 5: 1}}},
		}, 0)
		if err == nil {
			err = lab.Close()
		}
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
	}
	return nil
}

// connect runs in every process, with what prepare returned.
func (s *suite) connect(ctx context.Context, data []byte) {
	s.takeOver()
	ctx, release := s.bound(ctx)
	defer release()
	var err error
	s.frames, _, err = s.readCaptures()
	s.check(err)
	var ready prepared
	s.check(json.Unmarshal(data, &ready))
	s.check(s.takeSpecs(ready.Taking))
	if s.harness != nil {
		return // the first process, which has prepared
	}
	s.check(s.asked)
	s.harness, err = harness.Connect(ctx, harness.Options{
		Engine: s.addresses[s.own()], Images: ready.Images[s.own()], Guard: s.guard, Log: ginkgo.GinkgoWriter,
	})
	s.check(err)
}

// disconnect runs in every process when there is no spec left to take.
func (s *suite) disconnect() {
	s.check(s.takeNoMore())
	if s.harness == nil {
		return
	}
	if err := s.harness.Close(); s.lost == nil {
		s.check(err)
	}
}

func (s *suite) readCaptures() (frames []harness.Frame, skipped []string, err error) {
	if s.captures == "" {
		return harness.ReadCaptures(harness.EmbeddedCaptures())
	}
	frames, skipped, err = harness.ReadCaptures(os.DirFS(s.captures))
	if err != nil {
		return nil, nil, fmt.Errorf("CAPTURES=%s: %w", s.captures, err)
	}
	return frames, skipped, nil
}

// fromRoot makes a path absolute. People type paths from the module's root,
// while Go runs the suite in the folder below it.
func fromRoot(path string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	return filepath.Abs(filepath.Join("..", path))
}
