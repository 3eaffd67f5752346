package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Hello is what an agent says about itself.
type Hello struct {
	Role Role `json:"role"`
	// PID is the agent's process ID as it sees it itself: 1 in a PID namespace of its own.
	PID    int    `json:"pid"`
	Kernel string `json:"kernel"` // release, as in uname -r
	// Capabilities are the effective ones, by the kernel's names, in the kernel's order.
	Capabilities []string `json:"capabilities"`
	NoNewPrivs   bool     `json:"no_new_privs"`
}

func helloRoutes(mux *http.ServeMux, role Role) {
	handle(mux, "/hello", func(context.Context, Nothing) (Hello, error) { return hello(role) })
}

// Hello asks the agent who it is and what it may do.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	return call[Nothing, Hello](ctx, c, "/hello", Nothing{})
}

func hello(role Role) (Hello, error) {
	h := Hello{Role: role, PID: os.Getpid()}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return h, fmt.Errorf("asking for the kernel's release: %w", err)
	}
	h.Kernel = unix.ByteSliceToString(uts.Release[:])

	status, err := os.Open("/proc/self/status")
	if err != nil {
		return h, fmt.Errorf("reading the agent's own capabilities: %w", err)
	}
	defer status.Close() //nolint:errcheck // only read
	seen := 0
	for lines := bufio.NewScanner(status); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "CapEff":
			mask, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				return h, fmt.Errorf("reading CapEff of /proc/self/status: %w", err)
			}
			h.Capabilities = capabilityNames(mask)
			seen++
		case "NoNewPrivs":
			h.NoNewPrivs = value == "1"
			seen++
		}
	}
	if seen != 2 {
		return h, errors.New("reading the agent's own capabilities: /proc/self/status lacks CapEff or NoNewPrivs")
	}
	return h, nil
}

// capabilityNames spells out a set; a bit newer than this list appears as "CAP_<number>".
func capabilityNames(mask uint64) []string {
	// In the order of linux/capability.h, bit 0 first.
	known := strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
		NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
		SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
		BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)
	names := []string{}
	for bit := range 64 {
		if mask&(1<<bit) == 0 {
			continue
		}
		if bit < len(known) {
			names = append(names, "CAP_"+known[bit])
		} else {
			names = append(names, "CAP_"+strconv.Itoa(bit))
		}
	}
	return names
}
