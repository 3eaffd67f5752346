package main

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// dieWithGoRun ends this process, and with it the machine, when it was started by the go command and that is killed:
// to the user they are one program. Anything else may start it and leave it to itself.
func dieWithGoRun() {
	parent := os.Getppid()
	path, err := os.Readlink("/proc/" + strconv.Itoa(parent) + "/exe")
	if err != nil || filepath.Base(path) != "go" {
		return
	}
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if os.Getppid() != parent {
		os.Exit(exitFailed)
	}
}
