package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"golang.org/x/sys/unix"
)

// Features is what the kernel offers the lab.
type Features struct {
	Kernel string `json:"kernel"` // release, as in uname -r
	// MissingTunnels are the kinds of tunnels that the kernel has no device for.
	MissingTunnels []string `json:"missing_tunnels,omitempty"`
	// SCTP says that nodes can have associations of SCTP.
	SCTP bool `json:"sctp,omitempty"`
}

// FindFeatures looks what there is besides switches.
func FindFeatures() (f Features, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return f, fmt.Errorf("asking for the kernel's release: %w", err)
	}
	f.Kernel = unix.ByteSliceToString(u.Release[:])
	if f.MissingTunnels, err = missingTunnels(); err == nil {
		f.SCTP, err = haveSCTP()
	}
	return f, err
}

// MissingSwitch says why a kind of switch cannot be built here and what to do about it, "" if it can. It builds a
// small one in a network namespace of its own, which also loads the modules where the machine allows that.
func MissingSwitch(ctx context.Context, name string) (string, error) {
	k, err := kindCalled(name)
	if err != nil {
		return "", err
	}
	err = k.try(ctx)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("looking whether the kernel can run the switch %s: %w", name, context.Cause(ctx))
	case errors.Is(err, os.ErrPermission):
		return fmt.Sprintf("not permitted here: the host container needs CAP_NET_ADMIN and CAP_SYS_ADMIN, and a daemon that may give them (%v)", err), nil
	case err != nil:
		return k.explain(err).Error(), nil
	}
	return "", nil
}

// haveSCTP makes a socket, which also loads the module where the machine allows that.
func haveSCTP() (bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if lacking(err) || errors.Is(err, os.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("trying a socket of SCTP: %w", err)
	}
	return true, unix.Close(fd)
}

// try builds a switch with a trunk and a port, and takes it away again.
func (k kind) try(ctx context.Context) (err error) {
	ns, err := scratchNamespace("trying the switch " + k.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.close()) }()
	in := inside{ns: ns, macs: newMACs(&Plan{}), mtu: DefaultMTU}
	// Two links: were trunk and port the ends of one, the first frame would go round for ever.
	ends := map[string]*pair{}
	for _, name := range []string{"trunk", "port"} {
		p := &pair{ns: ns, name: name, mac: in.macs.next(), farNS: ns, farName: name + "-far", farMAC: in.macs.next(), mtu: DefaultMTU}
		if err := makePair(p); err != nil {
			return err
		}
		if err := p.up(); err != nil {
			return err
		}
		ends[name] = p
	}
	s, err := k.build(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.addTrunk(ctx, 0, ends["trunk"].index); err != nil {
		return err
	}
	// The VLAN that needs most of each kind.
	return s.addPorts(ctx, access{ends["port"].index, Place{Trunk: 0, VLAN: VLAN{Protocol: probe.Dot1AD, VID: 2}}})
}

// lacking reports whether an error means that the kernel does not know what it
// was asked for, as opposed to refusing or failing.
func lacking(err error) bool {
	for _, e := range []error{syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.ENOSYS, syscall.ENOENT, ebpf.ErrNotSupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
