package main

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// TestPlainAssignmentsAreReadAsYAMLReadsThem gives each text a second time with a comment after "assign:", which leaves
// it to YAML as a whole.
func TestPlainAssignmentsAreReadAsYAMLReadsThem(t *testing.T) {
	for text, plain := range map[string]bool{
		"  02:00:00:00:00:02: w1\n  02:00:00:00:00:01: w0\n":                           true,
		" \"02:00:00:00:00:01\": w0\n '02-00-00-00-00-02': 'eth1.5'\n":                 true,
		"\n# all\n  # of them\n  02:00:00:00:00:01: w0\n \n  02:00:00:00:00:0A:   W_0": true,
		"  02:00:00:00:00:01: w0\ncapacity: 70\n":                                      true,
		"  02:00:00:00:00:01: w0\n\ncapacity: 0\nsocket_: x\n":                         true,
		"  02:00:00:00:00:01: w0\nassign:\n  02:00:00:00:00:02: w0\n":                  true,
		"  02:00:00:00:00:01: w0\n---\na: b\n":                                         true,
		"  02:00:00:00:00:01: w0@eth1:12,13@eth2:ad7\n":                                true,
		"  02:00:00:00:00:01: \"w0@eth1:12\"\n":                                        true,
		"  02:00:00:00:00:01: w0@eth1:4095\n":                                          false,
		"  02:00:00:00:00:01: w0@much-too-long-a-name:1\n":                             false,
		"":                                      false,
		"capacity: 70\n":                        false,
		"  02:00:00:00:00:01: null\n":           false,
		"  02:00:00:00:00:01: ~\n":              false,
		"  02:00:00:00:00:01: w0 # the first\n": false,
		"  02:00:00:00:00:01: w0\n  02:00:00:00:00:01: w0\n":                                false,
		"  02:00:00:00:00:01: w0\n  02-00-00-00-00-01: w0\n":                                false,
		"  02:00:00:00:00:01: w0\n   02:00:00:00:00:02: w0\n":                               false,
		"  02:00:00:00:00:01: w0\n 02:00:00:00:00:02: w0\n":                                 false,
		"  02:00:00:00:00:01: w0\n  {02:00:00:00:00:02: w0}\n":                              false,
		"  02:00:00:00:00:01: w0\r\n":                                                       false,
		"  01:00:00:00:00:01: w0\n":                                                         false,
		"  02:00:00:00:00:01: much-too-long-a-name\n":                                       false,
		"  02:00:00:00:00:01: -\n":                                                          false,
		"  02:00:00:00:00:01: \"w0'\n":                                                      false,
		"  ? 02:00:00:00:00:01\n  : w0\n":                                                   false,
		"  02:00:00:00:00:01: >\n    w0\n":                                                  false,
		"  02:00:00:00:00:01: w0\n  \"02:00:00:00:00:02\": \"w0\n  02:00:00:00:00:03: w0\n": false,
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			whole := "trunks: [eth1]\nassign:\n" + text
			_, list, line := cutPlainAssignments(whole)
			g.Expect(list != nil).To(Equal(plain))
			if plain {
				g.Expect(line).To(Equal(2))
			}
			read, want := defaults(), defaults()
			err := parseConfig("x", whole, &read)
			wantErr := parseConfig("x", strings.Replace(whole, "assign:\n", "assign: # all\n", 1), &want)
			if wantErr == nil {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(read).To(Equal(want))
			} else {
				g.Expect(err).To(MatchError(wantErr.Error()))
			}
		})
	}
}
