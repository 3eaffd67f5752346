package wire

import (
	"net/netip"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

func validPlan() Plan {
	return Plan{
		Switch: SwitchTC,
		Trunks: []Trunk{{"trunk0"}},
		Ports: []Port{
			{Client: "c0", PID: 10, MAC: clientMAC(0), VLAN: vlan2, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}},
			{Client: "c1", PID: 11, MAC: clientMAC(1), VLAN: vlan2},
		},
		Workers: []Worker{{Name: "w0", PID: 12, MAC: workerMAC(0)}},
	}
}

func TestValidateAcceptsAPlan(t *testing.T) {
	g := NewWithT(t)
	p := validPlan()
	g.Expect(p.Validate()).To(Succeed())
	p.Ports[0].Client, p.MTU = strings.Repeat("c", 15), maxMTU
	g.Expect(p.Validate()).To(Succeed())
}

func TestValidateNamesEachMistake(t *testing.T) {
	v6 := netip.MustParsePrefix("fd00::1/64")
	for says, spoil := range map[string]func(*Plan){
		`switch is "q"`:                           func(p *Plan) { p.Switch = "q" },
		"MTU is 67":                               func(p *Plan) { p.MTU = 67 },
		"MTU is 65528":                            func(p *Plan) { p.MTU = 65528 },
		"MTU is 1279":                             func(p *Plan) { p.MTU, p.IPv6 = 1279, true },
		"there is no trunk":                       func(p *Plan) { p.Trunks = nil },
		"name is empty":                           func(p *Plan) { p.Workers[0].Name = "" },
		"has 16 characters":                       func(p *Plan) { p.Ports[0].Client = strings.Repeat("c", 16) },
		"holds one of / : %":                      func(p *Plan) { p.Ports[0].Client = "c%d" },
		"holds ' '":                               func(p *Plan) { p.Ports[0].Client = "c 0" },
		"the kernel keeps for itself":             func(p *Plan) { p.Trunks[0].Name = "all" },
		"which are the switch's":                  func(p *Plan) { p.Ports[0].Client = "br.0.q2" },
		"taken by the lab itself":                 func(p *Plan) { p.Workers[0].Name = "host" },
		`"c0") already uses that name in the lab`: func(p *Plan) { p.Ports[1].Client = "c0" },
		`"w0") already uses that name in the lab`: func(p *Plan) { p.Workers = append(p.Workers, p.Workers[0]) },
		"already uses that name in the host":      func(p *Plan) { p.Workers[0].Name = "trunk0" },
		"already uses that name in the switch":    func(p *Plan) { p.Ports[0].Client = "trunk0" },
		"already uses that name in process 11":    func(p *Plan) { p.Ports[0].PID = 11 },
		"process ID is 0":                         func(p *Plan) { p.Ports[0].PID = 0 },
		`interface "eth/0"`:                       func(p *Plan) { p.Ports[0].Interface = "eth/0" },
		"trunk 1 does not exist":                  func(p *Plan) { p.Ports[0].Trunk = 1 },
		"trunk -1 does not exist":                 func(p *Plan) { p.Ports[0].Trunk = -1 },
		"VID is 0":                                func(p *Plan) { p.Ports[0].VLAN.VID = 0 },
		"VID is 4095":                             func(p *Plan) { p.Ports[0].VLAN.VID = 4095 },
		"protocol is 0x9100":                      func(p *Plan) { p.Ports[0].VLAN.Protocol = 0x9100 },
		`port 0 ("c0"): `:                         func(p *Plan) { p.Ports[0].MAC = demux.MAC{} },
		`worker 0 ("w0"): `:                       func(p *Plan) { p.Workers[0].MAC = demux.MAC{1} },
		"is not valid":                            func(p *Plan) { p.Workers[0].Addresses = []netip.Prefix{{}} },
		"the plan has IPv6 off":                   func(p *Plan) { p.Workers[0].Addresses = []netip.Prefix{v6} },
		"is given twice":                          func(p *Plan) { p.IPv6, p.Workers[0].Addresses = true, []netip.Prefix{v6, v6} },
		"neighbour's address is not valid":        func(p *Plan) { p.Ports[0].Neighbours = []Neighbour{{MAC: workerMAC(0)}} },
		"neighbour fd00::1 is IPv6's":             func(p *Plan) { p.Ports[0].Neighbours = []Neighbour{{v6.Addr(), workerMAC(0)}} },
		"neighbour 10.0.0.9: ": func(p *Plan) {
			p.Ports[0].Neighbours = []Neighbour{{netip.MustParseAddr("10.0.0.9"), broadcast}}
		},
	} {
		t.Run(says, func(t *testing.T) {
			p := validPlan()
			spoil(&p)
			NewWithT(t).Expect(p.Validate()).To(MatchError(ContainSubstring(says)))
		})
	}
}

func TestValidateReportsAllMistakesAtOnce(t *testing.T) {
	p := validPlan()
	p.Switch, p.Ports[0].VLAN.VID, p.Workers[0].PID = "", 0, -1
	NewWithT(t).Expect(p.Validate()).To(MatchError(And(
		ContainSubstring("switch is"), ContainSubstring("VID is 0"), ContainSubstring("process ID is -1"))))
}
