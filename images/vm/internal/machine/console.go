package machine

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// troubled tells whether a line is one that a kernel prints when something is wrong with it, whoever caused it. A sign that
// begins with a space is a whole word.
func troubled(line []byte) bool {
	text := " " + string(line)
	for _, sign := range []string{
		"Kernel panic - not syncing", "kernel BUG at ", " BUG: ", " Oops: ", "general protection fault",
		" WARNING: CPU: ", " WARNING: possible ", " WARNING: suspicious ", " WARNING: lock ", "[ cut here ]",
		" KASAN: ", " KCSAN: ", " KMSAN: ", " UBSAN: ", " KFENCE: ",
		" INFO: task ", " INFO: rcu", "rcu: INFO: ", " INFO: possible ", " INFO: trying ",
		"unregister_netdevice: waiting for ",
		"Out of memory: Killed process ",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// consoleLimit is how much of a console a Console keeps, in octets: the newest.
const consoleLimit = 1 << 20

// Console keeps what a machine printed on its console and notices when its kernel complains. It is an io.Writer that
// never fails. Safe for concurrent use.
type Console struct {
	mu       sync.Mutex // guards all below
	log      []byte
	line     []byte // the last, unfinished line
	troubles []string
}

// Write takes what was printed. A line counts once it is complete.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line = append(c.line, p...)
	for {
		end := bytes.IndexByte(c.line, '\n')
		if end < 0 {
			return len(p), nil
		}
		c.add(bytes.TrimRight(c.line[:end], "\r"))
		c.line = c.line[end+1:]
	}
}

// add takes a line. The lock is held.
func (c *Console) add(line []byte) {
	if troubled(line) {
		c.troubles = append(c.troubles, string(line))
	}
	c.log = append(append(c.log, line...), '\n')
	if over := len(c.log) - consoleLimit; over > 0 {
		c.log = c.log[over:]
	}
}

// Troubles returns the lines with which the kernel complained: panics, oopses, warnings, stalls, and processes killed for
// want of memory.
func (c *Console) Troubles() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rest := bytes.TrimRight(c.line, "\r"); troubled(rest) {
		return append(slices.Clip(c.troubles), string(rest))
	}
	return c.troubles
}

// String returns what was printed, the newest MiB of it.
func (c *Console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.log) + string(c.line)
}
