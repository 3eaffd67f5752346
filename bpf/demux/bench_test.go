package demux

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
	"github.com/vlandemux/vlandemux/bpf/linux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

// BenchmarkPrograms measures what the programs cost for one frame of live
// traffic, by the kernel's own clock around each run, and beside them an empty
// program, which shows what that clock costs. The three take turns.
func BenchmarkPrograms(b *testing.B) {
	nettest.Enter(b)
	trunk, _ := nettest.Veth(b, "trunk", "sw")
	worker, _ := nettest.Veth(b, "w", "p")
	idle, _ := nettest.Veth(b, "idle", "e")
	d, err := Load(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	client, gateway := MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}
	if _, err := d.AttachTrunk(trunk); err != nil {
		b.Fatal(err)
	}
	if err := d.Assign(client, worker); err != nil {
		b.Fatal(err)
	}
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer empty.Close()
	linux.TCX.Need(b)
	hook, err := tchook.AttachTCX(idle, empty, "")
	if err != nil {
		b.Fatal(err)
	}
	defer hook.Detach()
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()

	in := nettest.Frame{Destination: gateway, Source: client, Tags: []nettest.Tag{{Protocol: 0x8100, TCI: 7}}, Payload: make([]byte, 64)}
	out := nettest.Frame{Destination: client, Source: gateway, Payload: make([]byte, 64)}
	runs := []struct {
		name    string
		port    *nettest.Port
		frame   []byte
		program *ebpf.Program
	}{
		{name: "phys2virt", port: nettest.Open(b, "sw"), frame: in.Bytes(), program: d.objs.Phys2virt},
		{name: "virt2phys", port: nettest.Open(b, "p"), frame: out.Bytes(), program: d.objs.Virt2phys},
		{name: "empty", port: nettest.Open(b, "e"), frame: out.Bytes(), program: empty},
	}
	for i := range runs {
		runs[i].port.CountOnly()
	}
	const turn = 500
	for n := 0; n < b.N; n += turn {
		for i := range runs {
			for range turn {
				if err := runs[i].port.SendRaw(nettest.GSO{}, runs[i].frame); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for _, run := range runs {
		stats, err := run.program.Stats()
		if err != nil {
			b.Fatal(err)
		}
		if stats.RunCount == 0 {
			b.Fatalf("%s did not run", run.name)
		}
		b.ReportMetric(float64(stats.Runtime.Nanoseconds())/float64(stats.RunCount), run.name+"-ns/frame")
	}
	b.ReportMetric(0, "ns/op") // says nothing: it is the sender
}
