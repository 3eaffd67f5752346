package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// parse merges a configuration file's text and flags, as `vlandemux run` does.
func parse(t *testing.T, text string, args ...string) (config, error) {
	t.Helper()
	g := NewWithT(t)
	var flags runFlags
	cmd := newRunWith(&flags, nil)
	if text != "" {
		file := filepath.Join(t.TempDir(), "vlandemux.yaml")
		g.Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
		args = append(args, "--config", file)
	}
	g.Expect(cmd.ParseFlags(args)).To(Succeed())
	return flags.settings(cmd.Flags().Changed)
}

func TestSettingsOfAFile(t *testing.T) {
	g := NewWithT(t)
	settings, err := parse(t, `
# two devices
trunks: [eth1, eth2]
assign:
  02:00:00:00:00:01: w0
  02-00-00-00-00-0A: w1
untagged: pass
attach: clsact
capacity: 20000
unknown: w9
group_limit: 50
age: 5m
redirect: peer
early_drop: off
bpffs: ""
socket: /tmp/x.sock
`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(settings).To(Equal(config{
		trunks: []string{"eth1", "eth2"},
		assign: []demux.Assignment{{MAC: demux.MAC{2, 0, 0, 0, 0, 1}, Worker: "w0"}, {MAC: demux.MAC{2, 0, 0, 0, 0, 10}, Worker: "w1"}},
		listed: true, untagged: "pass", attach: "clsact", capacity: 20000, unknown: "w9", groupLimit: 50, age: 5 * time.Minute, redirect: "peer", earlyDrop: "off", bpffs: "", socket: "/tmp/x.sock",
	}))
}

func TestFlagsOverrideTheFile(t *testing.T) {
	g := NewWithT(t)
	file := "trunks: [eth1]\nassign: {02:00:00:00:00:01: w0, 02:00:00:00:00:02: w0}\nuntagged: pass\ncapacity: 5\n"
	settings, err := parse(t, file, "--trunk", "eth7", "--trunk=eth8,eth9", "--assign", "02:00:00:00:00:01=w9", "--untagged=drop", "--bpffs=")
	g.Expect(err).NotTo(HaveOccurred())
	want := defaults()
	want.trunks = []string{"eth7", "eth8", "eth9"}
	want.assign = []demux.Assignment{{MAC: demux.MAC{2, 0, 0, 0, 0, 1}, Worker: "w9"}, {MAC: demux.MAC{2, 0, 0, 0, 0, 2}, Worker: "w0"}}
	want.listed, want.capacity, want.bpffs, want.untagged = true, 5, "", "drop"
	g.Expect(settings).To(Equal(want))
}

// A list of VIDs has commas, and so has a list of assignments.
func TestPlacesInFlags(t *testing.T) {
	g := NewWithT(t)
	settings, err := parse(t, "", "--trunk=eth1", "--assign=02:00:00:00:00:01=w0@eth1:12,13,02:00:00:00:00:02=w0@eth1:ad7", "--assign", "02:00:00:00:00:03=w1")
	g.Expect(err).NotTo(HaveOccurred())
	var texts []string
	for _, a := range settings.assign {
		texts = append(texts, a.String())
	}
	g.Expect(texts).To(Equal([]string{"02:00:00:00:00:01=w0@eth1:12,13", "02:00:00:00:00:02=w0@eth1:ad7", "02:00:00:00:00:03=w1"}))
	for _, wrong := range []string{"02:00:00:00:00:01=w0@eth1:12,x", "02:00:00:00:00:01=w0@eth1:12,4095", "12,02:00:00:00:00:01=w0"} {
		_, err := parse(t, "", "--trunk=eth1", "--assign", wrong)
		g.Expect(err).To(HaveOccurred(), wrong)
	}
}

func TestAnEmptyFileAndNoFlagsAreTheDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "~\n", "{}"} {
		NewWithT(t).Expect(parse(t, text)).To(Equal(defaults()), "%q", text)
	}
}

func TestEveryMistakeOfAFileIsInOneErrorWithItsLine(t *testing.T) {
	g := NewWithT(t)
	_, err := parse(t, `trunks: [eth1, "", interface-much-too-long]
assign:
  02:00:00:00:00:01: w0
  01:00:00:00:00:01: w0
  02:00:00:00:00: w0
  02-00-00-00-00-01: w1
  02:00:00:00:00:03: [w0]
  02:00:00:00:00:04: a/b
untaged: pass
untagged: maybe
attach: tcx
attach: xdp
capacity: -1
socket:
`)
	g.Expect(err).To(HaveOccurred())
	text := err.Error()
	for _, line := range []string{
		"line 1: an interface name is missing",
		`line 1: "interface-much-too-long" is no interface name: longer than 15 bytes`,
		`line 4: bad MAC address "01:00:00:00:00:01": it is a group address`,
		`line 5: bad MAC address "02:00:00:00:00":`,
		"line 6: 02:00:00:00:00:01 is already assigned on line 3",
		"line 7: a single value is missing here",
		`line 8: "a/b" is no interface name`,
		`line 9: there is no setting "untaged"; there are: trunks, assign,`,
		`line 10: untagged: "maybe" is none of: drop, pass`,
		"line 12: attach is already on line 11",
		"line 13: capacity: -1 is not between 1 and",
		"line 14: a single value is missing here",
	} {
		g.Expect(text).To(ContainSubstring(line))
	}
	g.Expect(text).To(ContainSubstring("12 mistakes:"))
}

func TestOddFilesAreErrorsAndNoPanics(t *testing.T) {
	for text, want := range map[string]string{
		"[1, 2]":                      "must be a mapping",
		"eth1":                        "must be a mapping",
		"trunks: eth1":                "line 1: trunks must be a list",
		"trunks: {eth1: 1}":           "trunks must be a list",
		"trunks: [[eth1]]":            "single value",
		"trunks: [~]":                 "single value",
		"assign: [a=b]":               "assign must be a mapping",
		"? [a]\n: b":                  "a key must be plain text",
		"a: 1\n---\nb: 2":             "a second YAML document",
		"trunks: [":                   "yaml:",
		"\ttrunks":                    "yaml:",
		"\x00\xff":                    "yaml:",
		"capacity: 99999999999999999": "between",
		"capacity: 12cows":            `"12cows" is no number`,
		"group_limit: -1":             "between",
		"age: 5":                      `"5" is no duration, e.g. 5m`,
		"age: 1500ms":                 "1.5s is not whole seconds between 0 and 240h0m0s",
		"unknown: a/b":                "no interface name",
		"redirect: pair":              `"pair" is none of: interface, peer`,
		"early_drop: tc":              `"tc" is none of: off, xdp`,
		"capacity: 1.5":               `"1.5" is no number`,
		"x: &a [*a]":                  "no setting \"x\"",
		"assign: *missing":            "yaml:",
	} {
		t.Run(text, func(t *testing.T) {
			_, err := parse(t, text)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)))
		})
	}
}

func FuzzConfigNeverPanics(f *testing.F) {
	f.Add("trunks: [eth1]\nassign: {02:00:00:00:00:01: w0}")
	f.Add("a: &a {b: *a}")
	f.Fuzz(func(_ *testing.T, text string) {
		settings := defaults()
		if err := parseConfig("fuzz", text, &settings); err == nil {
			_ = settings.validate()
		}
	})
}

func TestMistakesBetweenSettings(t *testing.T) {
	g := NewWithT(t)
	_, err := parse(t, "assign: {02:00:00:00:00:05: eth1}", "--trunk=eth1,eth1", "--assign=02:00:00:00:00:01=w0,02:00:00:00:00:01=w1",
		"--capacity=1", "--socket=", "--bpffs=/sys/fs/bpf/a.b", "--early-drop=xdp", "--unknown=w9")
	g.Expect(err).To(MatchError(And(
		ContainSubstring("7 mistakes:"),
		ContainSubstring("trunk eth1 is given twice"),
		ContainSubstring("02:00:00:00:00:05 is assigned to eth1, which is a trunk"),
		ContainSubstring("02:00:00:00:00:01 is assigned twice, to w0 and to w1"),
		ContainSubstring("3 assignments are more than the capacity of 1"),
		ContainSubstring("control socket is empty"),
		ContainSubstring("takes no dot in a name"),
		ContainSubstring(`unknown MACs are given to "w9" and cannot be dropped in the trunk's driver: leave --early-drop xdp or --unknown w9 out`),
	)))
}

func TestMistakesInFlags(t *testing.T) {
	g := NewWithT(t)
	_, err := parse(t, "capacity: 0", "--assign=02:00:00:00:00:01,ff:ff:ff:ff:ff:ff=,=w0", "--attach=xdp", "--untagged=", "--capacity=0", "--trunk=a b")
	g.Expect(err).To(MatchError(And(
		ContainSubstring(`line 1: capacity: 0 is not between`),
		ContainSubstring(`"02:00:00:00:00:01" is not MAC=WORKER`),
		ContainSubstring(`bad MAC address "ff:ff:ff:ff:ff:ff"`),
		ContainSubstring("an interface name is missing"),
		ContainSubstring(`bad MAC address ""`),
		ContainSubstring(`--attach: "xdp" is none of: auto, tcx, clsact`),
		ContainSubstring(`--untagged: "" is none of: drop, pass`),
		ContainSubstring("--capacity: 0 is not between"),
		ContainSubstring(`--trunk: "a b" is no interface name`),
	)))
	_, err = parse(t, "trunks: [eth1]", "--trunk=")
	g.Expect(err).To(MatchError(ContainSubstring("--trunk: an interface name is missing")))
}

func TestACommandLineThatMakesNoSenseExitsWith2(t *testing.T) {
	for _, args := range [][]string{
		{"runn"}, {"run", "eth1"}, {"run", "--trunks=eth1"}, {"run", "--config=/no/such/file"}, {"run", "--untagged=x"}, {"assign"},
		{"assign", "w0"}, {"assign", "02:00:00:00:00:01=w0", "02:00:00:00:00:01=w1"}, {"unassign"}, {"unassign", "w0"},
		{"unassign", "02:00:00:00:00:01", "02-00-00-00-00-01"},
		{"counters", "--watch=0s"}, {"counters", "--watch=x"}, {"status", "x"}, {"detach", "--bpffs="},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			g := NewWithT(t)
			var out, err strings.Builder
			g.Expect(execute(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &err})).To(Equal(exitUsage))
			g.Expect(err.String()).To(And(HavePrefix("vlandemux: "), ContainSubstring("--help`.\n")))
			g.Expect(out.String()).To(BeEmpty())
		})
	}
}

func TestHelpListsWhatOperatorsNeedOnce(t *testing.T) {
	g := NewWithT(t)
	listed := make(map[string]int)
	for _, c := range newRoot().Commands() {
		if !c.Hidden {
			listed[c.Name()]++
		}
	}
	g.Expect(listed).To(Equal(map[string]int{
		"run": 1, "status": 1, "apply": 1, "assign": 1, "unassign": 1, "counters": 1, "watch": 1, "detach": 1, "version": 1,
	}))
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"--version"}, {"run", "--help"}, {"counters", "--help"}, {"detach", "--help"}} {
		g := NewWithT(t)
		var out strings.Builder
		g.Expect(execute(t.Context(), args, streams{out: &out, err: io.Discard})).To(Equal(0))
		g.Expect(out.String()).To(ContainSubstring("vlandemux "))
	}
}
