package tchook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

var _ Hook = (*Link)(nil)

// Kind is a place that a link can be attached to.
type Kind struct {
	name    string
	attach  func(ifindex int, program *ebpf.Program) (link.Link, error)
	ifindex func(info *link.Info) int // 0 if it is of another kind, or its interface is gone
}

// TCX is tc ingress. A kernel without it gives [ebpf.ErrNotSupported].
func TCX() Kind {
	return Kind{
		name: "tcx",
		attach: func(ifindex int, program *ebpf.Program) (link.Link, error) {
			return link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: ebpf.AttachTCXIngress})
		},
		ifindex: func(info *link.Info) int {
			if tcx := info.TCX(); tcx != nil {
				return int(tcx.Ifindex)
			}
			return 0
		},
	}
}

// NativeXDP is XDP in the driver of the interface. A driver without it gives [unix.EOPNOTSUPP], another program
// that is there [unix.EBUSY] or [unix.EEXIST].
func NativeXDP() Kind {
	return Kind{
		name: "xdp",
		attach: func(ifindex int, program *ebpf.Program) (link.Link, error) {
			return link.AttachXDP(link.XDPOptions{Interface: ifindex, Program: program, Flags: link.XDPDriverMode})
		},
		ifindex: func(info *link.Info) int {
			if xdp := info.XDP(); xdp != nil {
				return int(xdp.Ifindex)
			}
			return 0
		},
	}
}

// Link runs a program through a link, which keeps it there for as long
// as there is a descriptor or a pin of the link.
type Link struct {
	kind    Kind
	link    link.Link
	ifindex int
	pin     string // path, empty for none
	isOurs  func(ebpf.ProgramID) bool
}

// Attach attaches and pins; pin may be empty. A pin of ours that is in the way was
// left behind by a process that died at this very point, or belongs to an
// interface that is gone; isOurs says whose it is by its program.
func (k Kind) Attach(ifindex int, program *ebpf.Program, pin string, isOurs func(ebpf.ProgramID) bool) (*Link, error) {
	attached, err := k.attach(ifindex, program)
	if err != nil {
		return nil, fmt.Errorf("attaching %s link: %w", k.name, err)
	}
	l := &Link{kind: k, link: attached, ifindex: ifindex, isOurs: isOurs}
	if err := l.Pin(pin); err != nil {
		return nil, errors.Join(err, attached.Close())
	}
	return l, nil
}

// Pin pins a link that is not pinned yet; pin may be empty.
func (l *Link) Pin(pin string) error {
	if pin == l.pin {
		return nil
	}
	ours, err := PinIsOurs(pin, l.isOurs)
	switch {
	case err == nil && !ours:
		err = fmt.Errorf("pinning %s link: another program's pin is in the way: %s", l.kind.name, pin)
	case err == nil:
		err = os.Remove(pin)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return err
	}
	if err := l.link.Pin(pin); err != nil {
		return fmt.Errorf("pinning %s link: %w", l.kind.name, err)
	}
	l.pin = pin
	return nil
}

// PinIsOurs tells whether a pin is a link of one of our programs.
func PinIsOurs(pin string, isOurs func(ebpf.ProgramID) bool) (bool, error) {
	pinned, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err != nil {
		return false, nil // something else
	}
	defer pinned.Close()
	info, err := pinned.Info()
	if err != nil {
		return false, fmt.Errorf("reading pinned link %s: %w", pin, err)
	}
	return isOurs(info.Program), nil
}

// Open opens a pinned link of the interface. It returns ErrGone if there is no
// pin, and ErrGone without the pin if the link's interface is gone or another one.
func (k Kind) Open(pin string, ifindex int, isOurs func(ebpf.ProgramID) bool) (*Link, error) {
	pinned, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("opening pinned link %s: %w", pin, err)
	}
	info, err := pinned.Info()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading pinned link %s: %w", pin, err), pinned.Close())
	}
	if k.ifindex(info) != ifindex {
		return nil, errors.Join(ErrGone, pinned.Unpin(), pinned.Close())
	}
	return &Link{k, pinned, ifindex, pin, isOurs}, nil
}

// Replace implements [Hook].
func (l *Link) Replace(program *ebpf.Program) error {
	if err := l.link.Update(program); err != nil {
		return fmt.Errorf("updating %s link: %w", l.kind.name, err)
	}
	return nil
}

// There implements [Hook]. It goes by the device, which takes its links along to another index or
// namespace: whoever has its index then has not got them.
func (l *Link) There() (bool, error) {
	info, err := l.link.Info()
	if err != nil {
		return false, fmt.Errorf("reading %s link of interface %d: %w", l.kind.name, l.ifindex, err)
	}
	return l.kind.ifindex(info) == l.ifindex, nil
}

// Restore implements [Hook]. A link that was detached by force cannot be attached
// again: another one takes its place.
func (l *Link) Restore(program *ebpf.Program) (bool, error) {
	if there, err := l.There(); there || err != nil {
		return false, err
	}
	next, err := l.kind.Attach(l.ifindex, program, l.pin, l.isOurs)
	if err != nil {
		return false, err
	}
	dead := l.link
	*l = *next
	return true, dead.Close()
}

// Detach implements [Hook]. It does not rely on this being the last descriptor of the link.
func (l *Link) Detach() error {
	var errs []error
	if detacher, ok := l.link.(interface{ Detach() error }); ok {
		// ENOLINK: the interface is gone and took the attachment along.
		if err := detacher.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) {
			errs = append(errs, fmt.Errorf("detaching %s link: %w", l.kind.name, err))
		}
	}
	if err := l.link.Unpin(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("unpinning %s link: %w", l.kind.name, err))
	}
	return errors.Join(append(errs, l.link.Close())...)
}

// Close implements [Hook].
func (l *Link) Close() error { return l.link.Close() }
