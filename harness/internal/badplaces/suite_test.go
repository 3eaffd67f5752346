// Package badplaces runs the suite where it cannot work, interrupts it and kills it: each time it must say once what to do, and leave nothing.
package badplaces

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/images"
)

// programs are the suite and the images' programs, compiled.
type programs struct {
	folder, suite string
	err           error
}

// compiled makes them once.
var compiled = sync.OnceValue(func() (p programs) { //nolint:gochecknoglobals // written once, by itself
	if p.folder, p.err = os.MkdirTemp("", "badplaces-"); p.err != nil {
		return p
	}
	if p.err = os.Chmod(p.folder, 0o755); p.err != nil { //nolint:gosec // for another user's sake
		return p
	}
	ctx := context.Background()
	e, err := engine.Connect(ctx, "")
	if err != nil {
		p.err = err
		return p
	}
	defer e.Close() //nolint:errcheck // only a connection
	if p.err = images.Build(ctx, filepath.Join(p.folder, "images"), e.Version().Arch); p.err != nil {
		return p
	}
	p.suite = filepath.Join(p.folder, "e2e.test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", p.suite, "../../../e2e").CombinedOutput(); err != nil {
		p.err = &os.PathError{Op: "compiling the suite", Path: string(out), Err: err}
	}
	return p
})

func TestMain(m *testing.M) {
	status := m.Run()
	if p := compiled(); p.folder != "" {
		_ = os.RemoveAll(p.folder)
	}
	os.Exit(status)
}

// run is a suite at work.
type run struct {
	*exec.Cmd
	output    bytes.Buffer
	temporary string // its folder for temporary files
}

// newRun is a suite that is to talk to an engine, one scenario of it.
func newRun(t *testing.T, dockerHost string) *run {
	t.Helper()
	g := NewWithT(t)
	p := compiled()
	g.Expect(p.err).NotTo(HaveOccurred())
	r := &run{temporary: shortFolder(t)}
	r.Cmd = exec.CommandContext(t.Context(), p.suite, "-ginkgo.no-color", "-ginkgo.v", "-ginkgo.focus=vlan learning")
	r.Dir = "../../../e2e"
	r.Env = append(os.Environ(), "DOCKER_HOST="+dockerHost, "TMPDIR="+r.temporary, "VLANDEMUX_REPORTS="+t.TempDir(), "VLANDEMUX_SWITCH=",
		images.Folder+"="+filepath.Join(p.folder, "images"))
	r.Stdout, r.Stderr = &r.output, &r.output
	return r
}

// expectOneComplaint waits for the suite's end and demands that it fails, says each of the words once, and nothing that is not for people.
func (r *run) expectOneComplaint(g Gomega, words ...string) {
	err := r.Wait()
	text := r.output.String()
	g.Expect(err).To(BeAssignableToTypeOf(&exec.ExitError{}), text)
	for _, w := range words {
		g.Expect(bytes.Count(r.output.Bytes(), []byte(w))).To(Equal(1), "how often it says %q:\n%s", w, text)
	}
	g.Expect(text).NotTo(ContainSubstring("goroutine "), "stacks are not for people")
	g.Expect(os.ReadDir(r.temporary)).To(BeEmpty(), "temporary files")
}
