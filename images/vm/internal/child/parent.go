package child

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// DieWithParent ends this process when the one that started it is killed, if that is one of these programs: to the
// user the two are one. Anything else may start this process and leave it to itself.
func DieWithParent(programs ...string) {
	parent := os.Getppid()
	path, err := os.Readlink("/proc/" + strconv.Itoa(parent) + "/exe")
	if err != nil || !slices.Contains(programs, filepath.Base(path)) {
		return
	}
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if os.Getppid() != parent { // it was killed before the kernel had been told
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
}
