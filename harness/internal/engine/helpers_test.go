package engine_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/images"
)

// runLabel marks the containers of one test.
const runLabel = "io.github.vlandemux.engine-test"

// report is what testdata/standin prints first.
type report struct {
	PID          int
	Child        int
	Status       map[string]string
	RootReadOnly bool
	RunWritable  bool
	Interfaces   []string
	Sysctls      map[string]string
	Env          []string
	Folder       string
	Processes    []int
}

// lab is a connection to the engine and the stand-in's image.
type lab struct {
	*engine.Engine
	image string
	label string // "name=value", unique to the test
}

// standinImage makes sure of the image once for all tests of the process.
var standinImage = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // written once, by itself
	// A compiler with nothing in its cache, on a machine with other work, takes its minutes.
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
	defer cancel()
	e, err := engine.Connect(ctx, "")
	if err != nil {
		return "", err
	}
	ids, err := images.EnsurePrograms(ctx, e, nil, images.Program{
		Name:       "engine-test",
		Packages:   []string{"github.com/vlandemux/vlandemux/harness/internal/engine/testdata/standin"},
		Entrypoint: []string{"/standin"},
	})
	if err != nil {
		return "", err
	}
	return ids[0], e.Close()
})

func TestMain(m *testing.M) {
	if os.Getenv(sshLog) != "" && filepath.Base(os.Args[0]) == "ssh" {
		os.Exit(pretendSSH())
	}
	engine.StandGuard()
	os.Exit(m.Run())
}

// newLab connects, and fails the test if it leaves a container.
func newLab(t *testing.T) *lab {
	t.Helper()
	g := NewWithT(t)
	image, err := standinImage()
	g.Expect(err).NotTo(HaveOccurred())
	e, err := engine.Connect(t.Context(), "")
	g.Expect(err).NotTo(HaveOccurred())
	e.UseGuard(engine.StandGuard())
	l := &lab{Engine: e, image: image, label: runLabel + "=" + rand.Text()}
	t.Cleanup(func() {
		g.Expect(l.Leftovers(context.Background(), l.label)).To(BeEmpty(), "containers left by the test")
		g.Expect(e.Close()).To(Succeed())
	})
	return l
}

// spec is a container of this test.
func (l *lab) spec(kind engine.Kind, args ...string) engine.Spec {
	name, value, _ := strings.Cut(l.label, "=")
	return engine.Spec{
		Name:   "vlandemux-test-" + strings.ToLower(rand.Text()[:10]),
		Image:  l.image,
		Kind:   kind,
		Labels: map[string]string{name: value},
		Args:   args,
	}
}

// start runs a container to the end of the test and reads its report.
func (l *lab) start(t *testing.T, spec engine.Spec) (*engine.Container, report, *bufio.Reader) {
	t.Helper()
	g := NewWithT(t)
	c, err := l.Start(t.Context(), spec)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = c.Close(context.Background()) }) // closed by the test already, unless it failed
	stdout := bufio.NewReader(c.Stream)
	line, err := stdout.ReadBytes('\n')
	g.Expect(err).NotTo(HaveOccurred(), c.Log())
	var r report
	g.Expect(json.Unmarshal(line, &r)).To(Succeed())
	return c, r, stdout
}
