//go:build linux

package linux

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Need skips a test on a kernel that is too old for the feature. On one that is
// not, the test runs, whether the feature works there or not.
func (f Feature) Need(t testing.TB) {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatalf("asking for the kernel's release: %v", err)
	}
	if release := unix.ByteSliceToString(name.Release[:]); !f.In(release) {
		t.Skipf("the kernel, %s, is older than %s", release, f)
	}
}
