package machine

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestAConsoleNoticesTrouble(t *testing.T) {
	for _, line := range []string{
		"[    2.927240] Kernel panic - not syncing: sysrq triggered crash",
		"[   10.123456] ------------[ cut here ]------------",
		"[   10.123456] WARNING: CPU: 1 PID: 97 at net/core/skbuff.c:5271 skb_try_coalesce+0x2b0/0x2d0",
		"[   10.123456] WARNING: possible circular locking dependency detected",
		"[   10.123456] BUG: kernel NULL pointer dereference, address: 0000000000000000",
		"[   10.123456] BUG: KASAN: use-after-free in br_forward+0x12/0x40",
		"[   10.123456] kernel BUG at net/core/dev.c:11002!",
		"[   10.123456] Oops: 0002 [#1] PREEMPT SMP NOPTI",
		"[   10.123456] general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
		"[   10.123456] UBSAN: array-index-out-of-bounds in drivers/net/veth.c:1:2",
		"[   10.123456] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
		"[   10.123456] INFO: task kworker/0:1:10 blocked for more than 120 seconds.",
		"[   10.123456] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [demux.test:231]",
		"[   10.123456] unregister_netdevice: waiting for v0 to become free. Usage count = 2",
		"[   10.123456] Out of memory: Killed process 123 (demux.test) total-vm:1kB",
	} {
		g := NewWithT(t)
		var c Console
		fmt.Fprintf(&c, "[    0.1] before\r\n%s\r\n[   11.0] after\r\n", line)
		g.Expect(c.Troubles()).To(Equal([]string{line}))
		g.Expect(c.String()).To(Equal("[    0.1] before\n" + line + "\n[   11.0] after\n"))
	}
}

func TestAConsoleIsNotAlarmedByOrdinaryLines(t *testing.T) {
	g := NewWithT(t)
	var c Console
	fmt.Fprint(&c, strings.Join([]string{
		"[    0.000000] Kernel command line: console=ttyS0 panic=-1 oops=panic nowatchdog",
		"[    0.639092] mtrr: your CPUs had inconsistent fixed MTRR settings",
		"[    0.032000] tsc: Unable to calibrate against PIT",
		"[    1.000000] DEBUG: log_buf_len: 131072 bytes",
		"[    2.000000] 8021q: adding VLAN 0 to HW filter on device v0",
		"[    3.000000] device v0 entered promiscuous mode",
		"[    8.497122] reboot: Power down",
		"",
	}, "\n"))
	g.Expect(c.Troubles()).To(BeEmpty())
}

func TestAConsoleTakesLinesInPieces(t *testing.T) {
	g := NewWithT(t)
	var c Console
	for _, piece := range []string{"[ 1.0] Kernel pa", "nic - not syncing", ": x\r", "\n[ 1.1] Oop"} {
		n, err := c.Write([]byte(piece))
		g.Expect(n, err).To(Equal(len(piece)))
	}
	g.Expect(c.Troubles()).To(HaveLen(1))
	fmt.Fprint(&c, "s: 0002 [#1]") // the machine ends before the line does
	g.Expect(c.Troubles()).To(HaveLen(2))
}

func TestAConsoleForgetsTheOldestLines(t *testing.T) {
	g := NewWithT(t)
	var c Console
	fmt.Fprint(&c, "BUG: the first\n")
	line := strings.Repeat("x", 1023) + "\n"
	for range consoleLimit / len(line) {
		fmt.Fprint(&c, line)
	}
	fmt.Fprint(&c, "the last\n")
	g.Expect(len(c.String())).To(Equal(consoleLimit))
	g.Expect(c.String()).To(HaveSuffix("the last\n"))
	g.Expect(c.Troubles()).To(Equal([]string{"BUG: the first"}), "trouble is remembered")
}
