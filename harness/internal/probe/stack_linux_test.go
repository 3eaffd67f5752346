package probe

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stackTap taps what goes on to the stack of the bed's namespace.
func (b *bed) stackTap(etherTypes ...uint16) *Tap {
	b.t.Helper()
	tap, err := OpenTap(TapPoint{Name: "test/stack", EtherTypes: etherTypes}, TapOptions{})
	b.Expect(err).NotTo(HaveOccurred())
	b.t.Cleanup(func() { _ = tap.Close() })
	return tap
}

// verdict makes every frame that comes in at an interface meet one verdict.
func (b *bed) verdict(name string, verdict int32) {
	b.t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	b.Expect(err).NotTo(HaveOccurred())
	defer program.Close()
	index := link(b.WithT, name).Attrs().Index
	b.Expect(netlink.QdiscReplace(&netlink.Clsact{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
	})).To(Succeed())
	b.Expect(netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:          program.FD(), Name: "verdict", DirectAction: true,
	})).To(Succeed())
}

// The verdicts of tc.
const (
	tcActUnspec int32 = -1
	tcActOK     int32 = 0
	tcActShot   int32 = 2
)

func TestStackTapSeesWhatTrafficControlLeavesToTheStack(t *testing.T) {
	for name, test := range map[string]struct {
		verdict int32
		seen    int
	}{
		"passed on":  {tcActOK, 7},
		"left alone": {tcActUnspec, 7},
		"dropped":    {tcActShot, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.verdict("b", test.verdict)
			ring, tap := b.tap("b", TapOptions{}), b.stackTap(DefaultEtherType)
			batch := &Batch{Name: "few", ID: 1, Count: 7, Source: macA(), Destination: macB(), Size: 60, MaxSize: 1000}
			b.send(batch)
			b.Expect(b.stop(ring).Frames).To(BeEquivalentTo(7))
			b.Expect(b.stop(tap).Frames).To(BeEquivalentTo(test.seen))
			if test.seen > 0 {
				expectSame(b, kept(tap), wire(batch))
			}
			for s := range sightings(tap) {
				b.Expect(s.Direction).To(Equal(In))
			}
		})
	}
}

// Whatever comes out of the tags is an EtherType of its own to the stack.
func TestStackTapSeesTheEtherTypesItWatches(t *testing.T) {
	b := newBed(t)
	tap := b.stackTap(CommonEtherTypes()...)
	few := func(id uint32, tags ...Tag) *Batch {
		return &Batch{Name: "few", ID: id, Count: 3, Source: macA(), Destination: macB(), Size: 90, Tags: tags}
	}
	plain, once, twice := few(1), few(2, Tag{Dot1Q, 9}), few(3, Tag{Dot1AD, 0xe009}, Tag{Dot1Q, 10})
	b.send(few(4)) // nobody watches its EtherType
	b.Expect(tap.Watch(plain.EtherTypes())).To(Succeed())
	b.Expect(tap.Watch(twice.EtherTypes())).To(Succeed())
	llc := &Batch{Name: "LLC", ID: 5, Raw: [][]byte{llcFrame()}}
	b.Expect(tap.Watch(llc.EtherTypes())).To(Succeed())
	for _, batch := range []*Batch{plain, once, twice, llc} {
		b.send(batch)
	}
	b.stop(tap)
	var got []int
	for s := range sightings(tap) {
		got = append(got, int(s.Length))
	}
	b.Expect(got).To(ConsistOf(90, 90, 90, 86, 86, 86, 86, 86, 86, 17))
}

func TestCountsPacketsWithAMarkOrAPriority(t *testing.T) {
	b := newBed(t)
	point := TapPoint{Name: "test/a", Interface: "a", Marks: Out}
	tap, err := OpenTap(point, TapOptions{})
	b.Expect(err).NotTo(HaveOccurred())
	other, err := OpenTap(TapPoint{Name: "test/b", Interface: "b", Marks: In}, TapOptions{})
	b.Expect(err).NotTo(HaveOccurred())
	fd := b.sender()
	send := func() {
		frame, _ := (&Batch{Count: 1, Source: macA(), Destination: macB(), Size: 60}).Packet(0, nil)
		_, err := unix.Write(fd, append(make([]byte, VirtioNetHeaderLen), frame...))
		b.Expect(err).NotTo(HaveOccurred())
	}
	set := func(option, value int) {
		b.Expect(unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, value)).To(Succeed())
	}
	send()
	set(unix.SO_MARK, 7)
	send()
	set(unix.SO_PRIORITY, 3)
	send()
	set(unix.SO_MARK, 0)
	send()
	set(unix.SO_PRIORITY, 0)
	send()
	report := b.stop(tap)
	b.Expect(report.Frames).To(BeEquivalentTo(5))
	b.Expect(report.Marked).To(BeEquivalentTo(3))
	b.Expect(b.stop(other).Marked).To(BeEquivalentTo(2), "veth takes the priority off, and no mark within a namespace")
}

func llcFrame() []byte {
	to, from := macB(), macA()
	return append(append(to[:], from[:]...), 0, 3, 0x42, 0x42, 3)
}
