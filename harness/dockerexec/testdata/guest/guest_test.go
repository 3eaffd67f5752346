// Package guest is what dockerexec's own tests run in a container.
package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPrivileges(t *testing.T) {
	if id := os.Getuid(); id != 0 {
		t.Errorf("uid %d, want 0", id)
	}
	if pid := os.Getppid(); pid != 1 {
		t.Errorf("parent %d, want the runner as process 1", pid)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CapEff:\t0000000400203000", "NoNewPrivs:\t1"} { // NET_ADMIN, NET_RAW, SYS_ADMIN, SYSLOG
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
}

func TestFilesystem(t *testing.T) {
	text, err := os.ReadFile("testdata/hello.txt")
	if err != nil || string(text) != "hello from testdata\n" {
		t.Errorf("testdata/hello.txt: %q, %v", text, err)
	}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if _, file, _, _ := runtime.Caller(0); folder != filepath.Dir(file) {
		t.Errorf("working folder %s, want that of %s", folder, file)
	}
	for _, folder := range []string{"/tmp", "/run", "."} {
		if err := os.WriteFile(folder+"/scratch", nil, 0o600); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile("/scratch", nil, 0o600); err == nil {
		t.Error("the root can be written to")
	}
}

func TestKernel(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespaces
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("making mounts private: %w", err)
			}
			if err := unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, ""); err != nil {
				return fmt.Errorf("mounting bpffs: %w", err)
			}
			if err := os.Mkdir("/sys/fs/bpf/x", 0o700); err != nil {
				return err
			}
			_, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
			return err
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	for _, entry := range os.Environ() {
		t.Log(entry)
	}
	if got := os.Getenv("VLANDEMUX_GUEST"); got != "passed on" {
		t.Errorf("VLANDEMUX_GUEST=%q", got)
	}
	if got := os.Getenv("UNRELATED_GUEST"); got != "" {
		t.Errorf("UNRELATED_GUEST=%q", got)
	}
}

// TestFailure fails, as its caller expects.
func TestFailure(t *testing.T) { t.Error("failing as asked") }

// TestForever ends by a signal, as its caller expects.
func TestForever(*testing.T) {
	fmt.Println("guest is waiting")
	<-time.After(time.Hour)
}
