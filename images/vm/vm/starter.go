package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// dieWithStarter ends this process, and with it the machine, when it was started by the go command or by make and that is
// killed: to the user they are one program. Anything else may start it and leave it to itself.
func dieWithStarter() {
	parent := os.Getppid()
	path, err := os.Readlink("/proc/" + strconv.Itoa(parent) + "/exe")
	if err != nil || !slices.Contains([]string{"go", "make"}, filepath.Base(path)) {
		return
	}
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if os.Getppid() != parent {
		os.Exit(exitFailed)
	}
}
