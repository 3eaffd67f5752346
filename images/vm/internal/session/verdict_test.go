package session

import (
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

func TestVerdict(t *testing.T) {
	const panicLine = "[ 2.9] Kernel panic - not syncing: x"
	exited := func(m protocol.Message) *protocol.Message {
		m.Kind = protocol.Exited
		return &m
	}
	for name, test := range map[string]struct {
		last    *protocol.Message
		console string
		stopped error
		byUser  bool

		status  int
		says    string
		suspect bool
	}{
		"success":            {last: exited(protocol.Message{})},
		"the command fails":  {last: exited(protocol.Message{Status: 7}), status: 7},
		"it is killed":       {last: exited(protocol.Message{Signal: 11}), status: 139},
		"a harmless taint":   {last: exited(protocol.Message{Tainted: 1 << 13})},
		"a taint by warning": {last: exited(protocol.Message{Tainted: 1 << 9}), says: "tainted (0x200)", suspect: true},
		"a warning":          {last: exited(protocol.Message{Tainted: 1 << 9}), console: "WARNING: CPU: 0 PID: 1 at x", says: "WARNING: CPU: 0", suspect: true},
		"a panic":            {console: panicLine, says: panicLine, suspect: true},
		"it just ends":       {says: "ended before the command did", suspect: true},
		"no preparing":       {last: &protocol.Message{Kind: protocol.Failed, Text: "no dockerd"}, says: "preparing the machine: no dockerd"},
		"preparing warns":    {last: &protocol.Message{Kind: protocol.Failed, Text: "no dockerd"}, console: panicLine, says: panicLine, suspect: true},
		"time is up":         {stopped: errors.New("time is up"), says: "time is up", suspect: true},
		"Ctrl-C":             {stopped: errors.New("interrupt"), byUser: true, last: exited(protocol.Message{}), says: "interrupt"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := &follower{last: test.last, stopped: test.stopped, byUser: test.byUser}
			fmt.Fprintln(&f.console, test.console)
			result, err := f.verdict()
			if test.says == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(test.says)))
			}
			g.Expect(result.Status).To(Equal(test.status))
			g.Expect(result.Suspect).To(Equal(test.suspect))
		})
	}
}
