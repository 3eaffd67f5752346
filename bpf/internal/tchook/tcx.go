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

var _ Hook = (*TCX)(nil)

// TCX runs a program through a TCX link, which keeps it there for as long
// as there is a descriptor or a pin of the link.
type TCX struct {
	link    link.Link
	ifindex int
	pin     string // path, empty for none
	isOurs  func(ebpf.ProgramID) bool
}

// AttachTCX attaches at tc ingress and pins; pin may be empty. A kernel without
// TCX gives [ebpf.ErrNotSupported]. A pin of ours that is in the way was
// left behind by a process that died at this very point, or belongs to an
// interface that is gone; isOurs says whose it is by its program.
func AttachTCX(ifindex int, program *ebpf.Program, pin string, isOurs func(ebpf.ProgramID) bool) (*TCX, error) {
	tcx, err := link.AttachTCX(link.TCXOptions{
		Interface: ifindex,
		Program:   program,
		Attach:    ebpf.AttachTCXIngress,
	})
	if err != nil {
		return nil, fmt.Errorf("attaching tcx link: %w", err)
	}
	if pin == "" {
		return &TCX{tcx, ifindex, pin, isOurs}, nil
	}
	ours, err := PinIsOurs(pin, isOurs)
	switch {
	case err == nil && !ours:
		err = fmt.Errorf("pinning tcx link: another program's pin is in the way: %s", pin)
	case err == nil:
		err = os.Remove(pin)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, errors.Join(err, tcx.Close())
	}
	if err := tcx.Pin(pin); err != nil {
		return nil, errors.Join(fmt.Errorf("pinning tcx link: %w", err), tcx.Close())
	}
	return &TCX{tcx, ifindex, pin, isOurs}, nil
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

// OpenTCX opens a pinned link of the interface. It returns ErrGone if there is no
// pin, and ErrGone without the pin if the link's interface is gone or another one.
func OpenTCX(pin string, ifindex int, isOurs func(ebpf.ProgramID) bool) (*TCX, error) {
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
	if tcx := info.TCX(); tcx == nil || int(tcx.Ifindex) != ifindex {
		return nil, errors.Join(ErrGone, pinned.Unpin(), pinned.Close())
	}
	return &TCX{pinned, ifindex, pin, isOurs}, nil
}

// Replace implements [Hook].
func (l *TCX) Replace(program *ebpf.Program) error {
	if err := l.link.Update(program); err != nil {
		return fmt.Errorf("updating tcx link: %w", err)
	}
	return nil
}

// There implements [Hook]. It goes by the device, which takes its links along to another index or
// namespace: whoever has its index then has not got them.
func (l *TCX) There() (bool, error) {
	info, err := l.link.Info()
	if err != nil {
		return false, fmt.Errorf("reading tcx link of interface %d: %w", l.ifindex, err)
	}
	tcx := info.TCX()
	return tcx != nil && int(tcx.Ifindex) == l.ifindex, nil
}

// Restore implements [Hook]. A link that was detached by force cannot be attached
// again: another one takes its place.
func (l *TCX) Restore(program *ebpf.Program) (bool, error) {
	if there, err := l.There(); there || err != nil {
		return false, err
	}
	next, err := AttachTCX(l.ifindex, program, l.pin, l.isOurs)
	if err != nil {
		return false, err
	}
	dead := l.link
	*l = *next
	return true, dead.Close()
}

// Detach implements [Hook]. It does not rely on this being the last descriptor of the link.
func (l *TCX) Detach() error {
	var errs []error
	if detacher, ok := l.link.(interface{ Detach() error }); ok {
		// ENOLINK: the interface is gone and took the attachment along.
		if err := detacher.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) {
			errs = append(errs, fmt.Errorf("detaching tcx link: %w", err))
		}
	}
	if err := l.link.Unpin(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("unpinning tcx link: %w", err))
	}
	return errors.Join(append(errs, l.link.Close())...)
}

// Close implements [Hook].
func (l *TCX) Close() error { return l.link.Close() }
