package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// maxName is the longest interface name, in bytes.
const maxName = 15

const (
	maxCapacity   = 1 << 20 // a table that large takes hundreds of megabytes with all its counters
	maxGroupLimit = 1_000_000
)

// config is what `vlandemux run` is asked to do.
type config struct {
	trunks   []string
	assign   []demux.Assignment // by MAC
	listed   bool               // the file has the list of assignments
	untagged string
	// unknown is drop, pass or a worker's name; empty: as in the last run.
	unknown string
	// groupLimit is in frames a second, and age how long an unused location is kept, as [demux.Options] has them: 0: as in the last
	// run, less: no limit, and for ever.
	groupLimit int
	age        time.Duration
	// redirect is how frames get to a worker; empty: as in the last run.
	redirect string
	// earlyDrop is where frames of unknown MACs are dropped; empty: as in the last run.
	earlyDrop string
	attach    string
	capacity  int
	bpffs     string // empty: nothing is pinned
	socket    string
	// socketGroup is the group of the socket besides root, if any.
	socketGroup string
	// metrics is the TCP address that serves Prometheus; empty: none.
	metrics string
	force   bool // attach interfaces that look like the host's own
}

func defaults() config {
	return config{
		attach: string(demux.AttachAuto),
		bpffs:  defaultBPFFS,
		socket: defaultSocket,
	}
}

// setting has one value, as a flag and in the file.
type setting struct {
	name, kind, usage string // kind is that of the value, for --help
	set               func(c *config, text string) error
}

// key is its name in the file.
func (s setting) key() string { return strings.ReplaceAll(s.name, "-", "_") }

func settings() []setting {
	text := func(field func(*config) *string, check func(string) error) func(*config, string) error {
		return func(c *config, text string) error {
			*field(c) = text
			return check(text)
		}
	}
	oneOf := func(values ...string) func(string) error {
		return func(value string) error { return checkOneOf(value, values) }
	}
	anything := func(string) error { return nil }
	number := func(least, most int, field func(*config, int)) func(*config, string) error {
		return func(c *config, text string) error {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("%q is no number", text)
			}
			if n < least || n > most {
				return fmt.Errorf("%d is not between %d and %d", n, least, most)
			}
			field(c, n)
			return nil
		}
	}
	age := func(c *config, text string) error {
		age, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration, e.g. 5m", text)
		}
		if age < 0 || age > demux.MaxAge || age%time.Second != 0 {
			return fmt.Errorf("%v is not whole seconds between 0 and %v", age, demux.MaxAge)
		}
		c.age = cmp.Or(age, -1)
		return nil
	}
	return []setting{
		{"untagged", "string", "what to do with untagged frames on a trunk: drop, or pass to the host's stack",
			text(func(c *config) *string { return &c.untagged }, oneOf(string(demux.UntaggedDrop), string(demux.UntaggedPass)))},
		{"unknown", "string", "tagged frames of MACs without a worker: drop, pass to the host's stack, or the interface that gets them",
			text(func(c *config) *string { return &c.unknown }, checkName)},
		{"group-limit", "int", "group frames (broadcast, multicast) a second that a worker may send; 0 for no limit",
			number(0, maxGroupLimit, func(c *config, n int) { c.groupLimit = cmp.Or(n, -1) })},
		{"age", "duration", "forget the location of a client that has sent nothing for this long, e.g. 5m; 0 never does", age},
		{"redirect", "string", "how frames get to a worker: interface sends them on it, peer hands them to the other end of its veth",
			text(func(c *config) *string { return &c.redirect }, oneOf(string(demux.RedirectInterface), string(demux.RedirectPeer)))},
		{"early-drop", "string", "drop frames of unknown MACs in the trunk's driver: xdp, or off to drop them at tc as all others",
			text(func(c *config) *string { return &c.earlyDrop }, oneOf(string(demux.EarlyDropOff), string(demux.EarlyDropXDP)))},
		{"attach", "string", "how to attach: auto (tcx where the kernel has it), tcx or clsact",
			text(func(c *config) *string { return &c.attach }, oneOf(string(demux.AttachAuto), string(demux.AttachTCX), string(demux.AttachClsact)))},
		{"capacity", "int", "how many MACs can be assigned, " + strconv.Itoa(demux.DefaultCapacity) + " by default", number(1, maxCapacity, func(c *config, n int) { c.capacity = n })},
		{"bpffs", "string", `folder in a BPF file system for pins; "" pins nothing`, text(func(c *config) *string { return &c.bpffs }, anything)},
		{"socket", "string", "control socket to serve", text(func(c *config) *string { return &c.socket }, anything)},
		{"socket-group", "string", "group (name or number) that may use the control socket besides root",
			text(func(c *config) *string { return &c.socketGroup }, anything)},
		{"metrics", "string", "TCP address that serves metrics for Prometheus, e.g. 127.0.0.1:9400",
			text(func(c *config) *string { return &c.metrics }, checkAddress)},
	}
}

// defaultWorker gets the frames of unknown MACs; "" for none.
func (c config) defaultWorker() string {
	if c.unknown == demux.UnknownDrop || c.unknown == demux.UnknownPass {
		return ""
	}
	return c.unknown
}

// parsePair reads MAC=WORKER, or MAC=WORKER@TRUNK:VID,VID.
func parsePair(text string) (a demux.Assignment, err error) {
	address, target, found := strings.Cut(text, "=")
	if !found {
		return a, fmt.Errorf("%q is not MAC=WORKER, e.g. 02:00:00:00:00:01=w0 or 02:00:00:00:00:01=w0@eth1:12,13", text)
	}
	a.MAC, err = parseMAC(address)
	return a, errors.Join(err, parseTarget(&a, target))
}

// parseTarget reads WORKER, or WORKER@TRUNK:VID,VID.
func parseTarget(a *demux.Assignment, text string) (err error) {
	if a.Worker, a.Places, err = demux.ParseTarget(text); err != nil {
		return err
	}
	names := []error{checkName(a.Worker)}
	for _, p := range a.Places {
		names = append(names, checkName(p.Trunk))
	}
	return errors.Join(names...)
}

// splitPairs takes lists of assignments apart at their commas: a VID has no MAC of its own.
func splitPairs(lists []string) (pairs []string) {
	for _, list := range lists {
		for i, part := range strings.Split(list, ",") {
			if i > 0 && !strings.Contains(part, "=") {
				pairs[len(pairs)-1] += "," + part
				continue
			}
			pairs = append(pairs, part)
		}
	}
	return pairs
}

// parsePairs reads all of them; the error lists every one that is wrong.
func parsePairs(texts []string) ([]demux.Assignment, error) {
	pairs := make([]demux.Assignment, 0, len(texts))
	var mistakes []error
	for _, text := range texts {
		p, err := parsePair(text)
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		pairs = append(pairs, p)
	}
	return pairs, errors.Join(mistakes...)
}

func parseMAC(text string) (demux.MAC, error) {
	mac, err := demux.ParseMAC(text)
	if err != nil {
		return mac, err
	}
	return mac, mac.Validate()
}

// checkName returns an error unless name can be an interface's.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("an interface name is missing")
	case len(name) > maxName:
		return fmt.Errorf("%q is no interface name: longer than %d bytes", name, maxName)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r"):
		return fmt.Errorf("%q is no interface name", name)
	}
	return nil
}

func checkOneOf(value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%q is none of: %s", value, strings.Join(allowed, ", "))
}

// checkAddress returns an error unless text is an address to listen on.
func checkAddress(text string) error {
	if text == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		return fmt.Errorf("%q is no address to listen on, e.g. 127.0.0.1:9400", text)
	}
	return nil
}

// validate finds what is wrong between settings that are each right by themselves.
func (c config) validate() error {
	var mistakes []error
	if c.socket == "" {
		mistakes = append(mistakes, errors.New("the path of the control socket is empty"))
	}
	if strings.Contains(filepath.Base(filepath.Clean(c.bpffs)), ".") && c.bpffs != "" {
		mistakes = append(mistakes, fmt.Errorf("%q cannot be a folder for pins: a BPF file system takes no dot in a name", c.bpffs))
	}
	trunks := make(map[string]bool)
	for _, name := range c.trunks {
		if trunks[name] {
			mistakes = append(mistakes, fmt.Errorf("trunk %s is given twice", name))
		}
		trunks[name] = true
	}
	for i, p := range c.assign {
		if i > 0 && c.assign[i-1].MAC == p.MAC {
			mistakes = append(mistakes, fmt.Errorf("%s is assigned twice, to %s and to %s", p.MAC, c.assign[i-1].Worker, p.Worker))
		}
		if trunks[p.Worker] {
			mistakes = append(mistakes, fmt.Errorf("%s is assigned to %s, which is a trunk", p.MAC, p.Worker))
		}
	}
	if trunks[c.defaultWorker()] {
		mistakes = append(mistakes, fmt.Errorf("unknown MACs are given to %s, which is a trunk", c.unknown))
	}
	if c.earlyDrop == string(demux.EarlyDropXDP) && c.unknown != "" && c.unknown != demux.UnknownDrop {
		mistakes = append(mistakes, fmt.Errorf("unknown MACs are given to %q and cannot be dropped in the trunk's driver: leave --early-drop xdp or --unknown %s out", c.unknown, c.unknown))
	}
	if c.capacity > 0 && len(c.assign) > c.capacity {
		mistakes = append(mistakes, fmt.Errorf("%d assignments are more than the capacity of %d", len(c.assign), c.capacity))
	}
	return errors.Join(mistakes...)
}

// mistakesError lists everything that is wrong with what the user wrote.
type mistakesError struct {
	doing    string
	mistakes []error
}

func (e *mistakesError) Error() string {
	lines := make([]string, 0, len(e.mistakes))
	for _, m := range e.mistakes {
		lines = append(lines, strings.Split(m.Error(), "\n")...)
	}
	if len(lines) == 1 {
		return e.doing + ": " + lines[0]
	}
	return fmt.Sprintf("%s: %d mistakes:\n  %s", e.doing, len(lines), strings.Join(lines, "\n  "))
}

func (e *mistakesError) Unwrap() []error { return e.mistakes }
