package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// procfs is a procfs instance that is mounted nowhere. A container's /proc/sys
// is read-only; this one is not, nobody else sees it, and it goes with its
// descriptor. What net/… in it shows is the network namespace of the thread
// that looks.
type procfs struct{ root *os.File }

func openProcfs() (procfs, error) {
	fail := func(doing string, err error) (procfs, error) {
		return procfs{}, fmt.Errorf("%s a private procfs to set sysctls through (needs CAP_SYS_ADMIN, Linux 5.2, and a seccomp profile that allows fsopen, as Docker's does): %w", doing, err)
	}
	ctx, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail("opening", err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return fail("making", err)
	}
	root, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fail("mounting", err)
	}
	return procfs{os.NewFile(uintptr(root), "procfs")}, nil
}

func (p procfs) close() error { return p.root.Close() }

type sysctl struct{ path, value string }

// set writes sysctls in a namespace, in order. Paths are relative to /proc/sys.
func (p procfs) set(ns *namespace, settings []sysctl) error {
	return ns.do(func() error {
		for _, s := range settings {
			if err := p.write("sys/"+s.path, s.value); err != nil {
				return fmt.Errorf("setting sysctl %s to %s for %s: %w", s.path, s.value, ns.node, err)
			}
		}
		return nil
	})
}

// has reports whether a namespace has the sysctl or folder of sysctls.
func (p procfs) has(ns *namespace, path string) (bool, error) {
	found := false
	err := ns.do(func() error {
		var st unix.Stat_t
		err := unix.Fstatat(int(p.root.Fd()), "sys/"+path, &st, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for sysctl %s in the namespace of %s: %w", path, ns.node, err)
		}
		found = err == nil
		return nil
	})
	return found, err
}

func (p procfs) write(path, value string) error {
	fd, err := unix.Openat(int(p.root.Fd()), path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// quiet keeps a namespace's stack from sending frames of its own accord, before
// any interface of the lab is in it. ipv6 says whether it is to have IPv6.
func (p procfs) quiet(ns *namespace, ipv6 bool) error {
	settings := []sysctl{
		// A new namespace inherits these from the machine, and Docker turns
		// forwarding on there: a client would answer a frame for somebody
		// else's address with a copy or a redirect.
		{"net/ipv4/ip_forward", "0"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/conf/all/arp_notify", "0"},
		{"net/ipv4/conf/default/arp_notify", "0"},
		// A connection that was closed leaves no socket in TIME_WAIT: the
		// namespace can be used for the next lab.
		{"net/ipv4/tcp_max_tw_buckets", "0"},
	}
	has, err := p.has(ns, "net/ipv6/conf")
	switch {
	case err != nil:
		return err
	case !has && ipv6:
		return fmt.Errorf("turning IPv6 on for %s: this kernel has no IPv6 (was it booted with ipv6.disable=1?)", ns.node)
	case has && ipv6:
		settings = append(settings, ipv6On()...)
	case has:
		settings = append(settings,
			sysctl{"net/ipv6/conf/all/disable_ipv6", "1"},
			sysctl{"net/ipv6/conf/default/disable_ipv6", "1"})
	}
	// br_netfilter, where loaded, hands bridged frames to iptables.
	has, err = p.has(ns, "net/bridge/bridge-nf-call-iptables")
	if err != nil {
		return err
	}
	if has {
		for _, name := range []string{"iptables", "ip6tables", "arptables"} {
			settings = append(settings, sysctl{"net/bridge/bridge-nf-call-" + name, "0"})
		}
	}
	return p.set(ns, settings)
}

// ipv6On turns IPv6 on; the stack sends as few frames of its own accord as the kernel allows.
func ipv6On() []sysctl {
	settings := []sysctl{
		{"net/ipv6/conf/all/disable_ipv6", "0"},
		{"net/ipv6/conf/default/disable_ipv6", "0"},
		{"net/ipv6/conf/all/forwarding", "0"},
	}
	for _, s := range []sysctl{
		{"accept_ra", "0"},
		{"autoconf", "0"},
		{"router_solicitations", "0"},
		{"addr_gen_mode", "1"}, // no link-local address
		{"accept_dad", "0"},
		{"dad_transmits", "0"},
		{"use_tempaddr", "0"},
		{"ndisc_notify", "0"},
		{"mldv1_unsolicited_report_interval", "1"}, // ms
		{"mldv2_unsolicited_report_interval", "1"}, // ms
	} {
		settings = append(settings, sysctl{"net/ipv6/conf/default/" + s.path, s.value})
	}
	return settings
}
