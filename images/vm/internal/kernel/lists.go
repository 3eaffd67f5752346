package kernel

import (
	_ "embed"
	"strings"
)

//go:embed lists/boot.txt
var bootList string

//go:embed lists/late.txt
var lateList string

// Modules are the kernel modules a guest loads, in this order, each after those it depends on: a name, or a name and
// options ("dummy numdummies=0"). One with a question mark behind its name is loaded where the kernel has it.
type Modules struct {
	// Boot is what the guest needs to reach the host's files.
	Boot []string
	// Late is loaded once it has.
	Late []string
}

// DefaultModules returns what the project's tests need.
func DefaultModules() Modules {
	return Modules{Boot: parseList(bootList), Late: parseList(lateList)}
}

// parseList returns the lines of a list; # starts a comment.
func parseList(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if name := strings.TrimSpace(line); name != "" {
			names = append(names, name)
		}
	}
	return names
}
