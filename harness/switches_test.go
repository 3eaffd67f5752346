package harness

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

func TestTheEnvironmentNamesSwitches(t *testing.T) {
	for text, want := range map[string][]SwitchKind{
		"":                 nil,
		"tc":               {"tc"},
		"8021q,tc, bridge": {"8021q", "tc", "bridge"},
		"all":              {"8021q", "tc", "bridge"},
		"bridge,8021q":     {"bridge", "8021q"},
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv(switchVariable, text)
			g.Expect(SwitchesFromEnvironment()).To(Equal(want))
		})
	}
	for text, says := range map[string]string{
		"hub":      `VLANDEMUX_SWITCH=hub: there is no switch "hub"; name one or more of 8021q, tc, bridge`,
		"tc,":      `there is no switch ""`,
		"tc;8021q": `there is no switch "tc;8021q"`,
		"tc,tc":    "tc is there twice",
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv(switchVariable, text)
			_, err := SwitchesFromEnvironment()
			g.Expect(err).To(MatchError(ContainSubstring(says)))
		})
	}
}

func TestALabHasTheSwitchThatWasAskedFor(t *testing.T) {
	lacking := map[SwitchKind]string{"8021q": "no 8021q", "bridge": "no filtering"}
	nothing := map[SwitchKind]string{"8021q": "no 8021q", "tc": "no BPF", "bridge": "no filtering"}
	for name, c := range map[string]struct {
		asked       SwitchKind
		environment string
		missing     map[SwitchKind]string
		tried       []SwitchKind
		want        SwitchKind
		says        string
	}{
		"the best there is":                    {tried: []SwitchKind{"8021q"}, want: "8021q"},
		"what is left":                         {missing: lacking, tried: []SwitchKind{"8021q", "tc"}, want: "tc"},
		"nothing is left":                      {missing: nothing, says: "8021q: no 8021q\ntc: no BPF\nbridge: no filtering"},
		"the environment's":                    {environment: "bridge", tried: []SwitchKind{"bridge"}, want: "bridge"},
		"the environment's, which is lacking":  {environment: "bridge", missing: lacking, says: `VLANDEMUX_SWITCH asks for the switch "bridge", which the kernel 6.1`},
		"the environment's, which is a list":   {environment: "tc,bridge", says: "names 2 switches, but a lab has one"},
		"the environment's, which is nonsense": {environment: "hub", says: `no switch "hub"`},
		"the topology's":                       {asked: "tc", environment: "8021q,bridge", tried: []SwitchKind{"tc"}, want: "tc"},
		"the topology's, which is lacking":     {asked: "8021q", missing: lacking, says: `the topology asks for the switch "8021q"`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv(switchVariable, c.environment)
			var tried []SwitchKind
			kind, err := (&Lab{Topology: Topology{Switch: c.asked}, Features: wire.Features{Kernel: "6.1"}}).chooseSwitch(func(kind SwitchKind) (string, error) {
				tried = append(tried, kind)
				return c.missing[kind], nil
			})
			if c.says != "" {
				g.Expect(err).To(MatchError(ContainSubstring(c.says)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(kind).To(Equal(c.want))
			g.Expect(tried).To(Equal(c.tried))
		})
	}
}
