package scenarios

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	. "github.com/onsi/gomega"
)

// helper is what Run's own helpers are like.
func (r *Run) helper(err error) { r.Check(err) }

func TestAFailureNamesTheScenariosLine(t *testing.T) {
	g := NewWithT(t)
	var file string
	var line int
	r := &Run{Fail: func(_ string, skip ...int) { _, file, line, _ = runtime.Caller(1 + skip[0]) }}
	_, _, here, _ := runtime.Caller(0)
	r.Check(errors.New("directly"))
	g.Expect(filepath.Base(file)).To(Equal("run_test.go"))
	g.Expect(line).To(Equal(here + 1))
	r.helper(errors.New("through a helper"))
	g.Expect(filepath.Base(file)).To(Equal("run_test.go"))
	g.Expect(line).To(Equal(here + 4))
}
