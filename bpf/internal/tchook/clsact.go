package tchook

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var _ Hook = (*Clsact)(nil)

// Clsact runs a program as a direct-action filter of the clsact qdisc.
// Unlike a link it stays until it is removed; it is found again by its program.
type Clsact struct {
	net       *netlink.Handle
	ifindex   int
	name      string
	isOurs    func(ebpf.ProgramID) bool
	ownsQdisc bool // we made the qdisc, so we may remove it
}

// filterPriority makes ours the first filter, unless the priority is taken by a
// filter of another kind; then the kernel chooses.
const filterPriority = 1

// PrepareClsact makes the qdisc if there is none; Replace then adds the filter. The
// name is for people; isOurs says of a filter's program whether it is ours to replace.
// A qdisc that is there is ours if owned says so. What the filter will be is noted before
// the qdisc is made: a process that is killed in between leaves none that nobody owns.
func PrepareClsact(net *netlink.Handle, ifindex int, name string, isOurs func(ebpf.ProgramID) bool, owned bool,
	note func(*Clsact) error,
) (*Clsact, error) {
	f := OpenClsact(net, ifindex, name, owned, isOurs)
	there, err := f.qdiscThere()
	if err != nil {
		return nil, fmt.Errorf("looking for a clsact qdisc: %w", err)
	}
	f.ownsQdisc = owned || !there
	if err := note(f); err != nil || there {
		return f, err
	}
	if err := net.QdiscAdd(f.qdisc()); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("adding clsact qdisc: %w", err)
	}
	return f, nil
}

// qdiscThere asks for the one qdisc: a list is one of all interfaces.
func (f *Clsact) qdiscThere() (bool, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	request.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(f.ifindex), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	})
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	// EINVAL: what is there instead has another handle.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	return err == nil, err
}

// OpenClsact stands for a filter that may be there already.
func OpenClsact(net *netlink.Handle, ifindex int, name string, ownsQdisc bool, isOurs func(ebpf.ProgramID) bool) *Clsact {
	return &Clsact{net: net, ifindex: ifindex, name: name, ownsQdisc: ownsQdisc, isOurs: isOurs}
}

// There implements [Hook]. An interface that is gone has none.
func (f *Clsact) There() (bool, error) {
	present, err := f.find()
	if noInterface(err) {
		return false, nil
	}
	return present != nil, err
}

// Restore implements [Hook]. It makes the qdisc again too.
func (f *Clsact) Restore(program *ebpf.Program) (bool, error) {
	there, err := f.There()
	if there || err != nil {
		return false, err
	}
	err = f.net.QdiscAdd(f.qdisc())
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return false, fmt.Errorf("adding clsact qdisc to interface %d again: %w", f.ifindex, err)
	}
	f.ownsQdisc = f.ownsQdisc || err == nil
	return true, f.Replace(program)
}

// OwnsQdisc reports whether we made the qdisc.
func (f *Clsact) OwnsQdisc() bool { return f.ownsQdisc }

func (f *Clsact) qdisc() netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: f.ifindex,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

func (f *Clsact) link() netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: f.ifindex}, LinkType: "any"}
}

// find returns our own filter, nil if there is none.
func (f *Clsact) find() (*netlink.BpfFilter, error) {
	filters, err := f.net.FilterList(f.link(), netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil, fmt.Errorf("listing filters of interface %d: %w", f.ifindex, err)
	}
	for _, filter := range filters {
		if bpf, ok := filter.(*netlink.BpfFilter); ok && f.isOurs(ebpf.ProgramID(bpf.Id)) {
			return bpf, nil
		}
	}
	return nil, nil
}

// Replace implements [Hook]. It also adds, where there is nothing to replace. The
// kernel chooses the handle of a new filter.
func (f *Clsact) Replace(program *ebpf.Program) error {
	present, err := f.find()
	if err != nil {
		return err
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: f.ifindex,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Priority:  filterPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           program.FD(),
		Name:         f.name,
		DirectAction: true,
	}
	if present != nil {
		filter.Handle, filter.Priority = present.Handle, present.Priority
		if err := f.net.FilterReplace(filter); err != nil {
			return fmt.Errorf("replacing clsact filter of interface %d: %w", f.ifindex, err)
		}
		return nil
	}
	err = f.net.FilterAdd(filter)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EEXIST) {
		filter.Priority = 0
		err = f.net.FilterAdd(filter)
	}
	if err != nil {
		return fmt.Errorf("adding clsact filter to interface %d: %w", f.ifindex, err)
	}
	return nil
}

// Detach implements [Hook]. It leaves the filters of others alone, and the qdisc if they need it. Where our filter is
// not, the interface can be another one that has the index now, and the qdisc a stranger's: that stays too.
func (f *Clsact) Detach() error {
	present, err := f.find()
	if noInterface(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if present == nil {
		return nil
	}
	if err := f.net.FilterDel(present); err != nil && !noInterface(err) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing clsact filter of interface %d: %w", f.ifindex, err)
	}
	return f.RemoveQdisc()
}

// RemoveQdisc removes the qdisc if it is ours and nobody's filter is there.
func (f *Clsact) RemoveQdisc() error {
	if !f.ownsQdisc {
		return nil
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		others, err := f.net.FilterList(f.link(), parent)
		if err != nil && !noInterface(err) {
			return fmt.Errorf("listing filters of interface %d: %w", f.ifindex, err)
		}
		if len(others) > 0 {
			return nil
		}
	}
	if err := f.net.QdiscDel(f.qdisc()); err != nil && !noInterface(err) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing clsact qdisc of interface %d: %w", f.ifindex, err)
	}
	return nil
}

// noInterface tells the kernel's answers for an interface or qdisc that is gone.
func noInterface(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

// Close implements [Hook].
func (f *Clsact) Close() error { return nil }
