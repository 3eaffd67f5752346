package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/bpf/linux"
)

// A time namespace has clocks of its own, which BPF programs do not read.
func TestInATimeNamespace(t *testing.T) {
	linux.ExecTimeNamespace.Need(t)
	for _, ahead := range []int{-5, 100_000} { // s; no clock may be set to before the machine was booted
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			g := NewWithT(t)
			needCapabilities(t, unix.CAP_SYS_TIME)
			b := newBed(t)
			args := []string{"run", "--bpffs", b.bpffs, "--socket", b.socket, "--trunk", "t0", "--assign", clientA + "=w0"}
			session := b.start(exec.Command("/proc/self/exe", args...), func() {
				g.Expect(unix.Unshare(unix.CLONE_NEWTIME)).To(Succeed())
				offsets := fmt.Sprintf("monotonic %d 0\nboottime %d 0\n", ahead, ahead)
				g.Expect(os.WriteFile(fmt.Sprintf("/proc/%d/timens_offsets", unix.Gettid()), []byte(offsets), 0)).To(Succeed())
			})
			g.Eventually(session.Err, patience).Should(gbytes.Say(`\bready\b`))
			events := b.command("watch", "--json", "--socket", b.socket)
			drops := b.command("watch", "--drops", "--json", "--socket", b.socket)
			g.Eventually(events.Err, patience).Should(gbytes.Say("watching"))
			g.Eventually(drops.Err, patience).Should(gbytes.Say("watching"))
			b.port("t1").send(tagged(frame(gateway, clientB, "unknown"), 12))
			b.port("t1").send(tagged(frame(gateway, clientA, "known"), 12))
			var event control.Event
			var drop control.Drop
			for from, to := range map[*gbytes.Buffer]any{events.Out: &event, drops.Out: &drop} {
				g.Eventually(func() error { return json.NewDecoder(bytes.NewReader(from.Contents())).Decode(to) }, patience).Should(Succeed())
			}
			g.Expect(event.Time).To(BeTemporally("~", time.Now(), patience))
			g.Expect(drop.Time).To(BeTemporally("~", time.Now(), patience))
		})
	}
}
