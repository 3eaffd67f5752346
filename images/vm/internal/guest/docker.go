package guest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// SystemPath is where the engine and what it starts are looked for, on the host as in the guest.
const SystemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// dockerSettings are the engine's: containers without networks of Docker's own making, since the guest has none.
const dockerSettings = `{
	"bridge": "none",
	"iptables": false,
	"ip6tables": false,
	"ip-forward": false,
	"storage-driver": "overlay2",
	"log-level": "warn"
}
`

// dockerPatience is how long an engine may take to start. On emulated processors it takes about 7 s.
const dockerPatience = 5 * time.Minute

// Paths of the engine's files in the guest.
const (
	dockerDir      = "/run/vlandemux-docker"
	dockerConfig   = "/etc/docker/daemon.json"
	dockerLog      = dockerDir + "/log"
	dockerNotifier = dockerDir + "/notify"
)

// startDocker starts a Docker engine and returns once it answers.
func startDocker(processes *reaper) error {
	path, err := LookPath("dockerd", SystemPath)
	if err != nil {
		return fmt.Errorf("starting a Docker engine: %w", err)
	}
	if err := os.MkdirAll(dockerDir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(dockerConfig, []byte(dockerSettings), 0o644); err != nil {
		return err
	}
	log, err := os.Create(dockerLog)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()

	// The engine tells by systemd's protocol when it is ready.
	notifier, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dockerNotifier, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("starting a Docker engine: %w", err)
	}
	defer notifier.Close()
	ready := make(chan struct{})
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := notifier.Read(message)
			if err != nil {
				return
			}
			if bytes.Contains(message[:n], []byte("READY=1")) {
				close(ready)
				return
			}
		}
	}()

	_, ended, err := processes.start(path, []string{path}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + SystemPath, "HOME=/root", "NOTIFY_SOCKET=" + dockerNotifier},
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("starting a Docker engine: %w", err)
	}
	select {
	case <-ready:
		return nil
	case status := <-ended:
		return fmt.Errorf("starting a Docker engine: dockerd ended (%s):\n%s", describe(status), tail(dockerLog))
	case <-time.After(dockerPatience):
		return fmt.Errorf("starting a Docker engine: dockerd is not ready after %s:\n%s", dockerPatience, tail(dockerLog))
	}
}

func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 4096
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return strings.TrimSpace(string(text))
}
