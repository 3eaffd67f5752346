package plane

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

var errNotSupported = errors.New("this adapter cannot")

// settings are the flags of `vlandemux run` that an adapter knows. What else a lab asks for, it refuses.
type settings struct {
	attach, untagged, unknown, socket string
	capacity                          int
	force                             bool
	trunks, assign                    list
}

type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(text string) error {
	*l = append(*l, text)
	return nil
}

// Main runs the command line: run and detach, which has nothing to do since all of it goes with the interfaces.
func Main(newBackend func(demux.AttachMode) (Backend, error)) {
	if len(os.Args) == 2 && os.Args[1] == "detach" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, newBackend)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "adapter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, newBackend func(demux.AttachMode) (Backend, error)) error {
	var s settings
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.Var(&s.trunks, "trunk", "")
	flags.Var(&s.assign, "assign", "MAC=WORKER")
	flags.StringVar(&s.attach, "attach", "auto", "")
	flags.StringVar(&s.untagged, "untagged", "drop", "")
	flags.StringVar(&s.unknown, "unknown", "drop", "")
	flags.StringVar(&s.socket, "socket", "/run/vlandemux.sock", "")
	flags.IntVar(&s.capacity, "capacity", 4096, "")
	flags.BoolVar(&s.force, "force", false, "")
	if len(os.Args) < 2 || os.Args[1] != "run" {
		return errors.New("usage: adapter run --trunk INTERFACE --assign MAC=WORKER | detach")
	}
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	if s.untagged != "drop" || s.unknown != "drop" {
		return fmt.Errorf("passing frames on without a worker: %w", errNotSupported)
	}
	if s.attach == "auto" {
		s.attach = "clsact"
	}
	backend, err := newBackend(demux.AttachMode(s.attach))
	if err != nil {
		return err
	}
	p := &plane{backend: backend, settings: s, began: time.Now(), clients: map[demux.MAC]*client{}, found: map[string]net.Interface{}}
	for _, name := range s.trunks {
		if err := p.attach(name, &p.trunks, backend.AttachTrunk); err != nil {
			return err
		}
	}
	for _, pair := range s.assign {
		address, worker, _ := strings.Cut(pair, "=")
		mac, err := demux.ParseMAC(address)
		if err != nil {
			return err
		}
		if err := p.Assign(mac, worker); err != nil {
			return err
		}
	}
	names, err := control.NewNames()
	if err != nil {
		return err
	}
	defer names.Close() //nolint:errcheck // the process ends
	listener, err := control.Listen(ctx, s.socket)
	if err != nil {
		return err
	}
	server := control.NewServer(control.ServerOptions{Dataplane: p, Names: names, Version: "adapter"})
	fmt.Fprintln(os.Stderr, "ready")
	return server.Serve(ctx, listener)
}

// Hooks keep what is attached.
type Hooks struct{ links []link.Link }

// Attach runs a program on what comes in at an interface, until the interface is gone or, by TCX, this process is.
func (h *Hooks) Attach(mode demux.AttachMode, ifindex int, program *ebpf.Program) error {
	if mode == demux.AttachTCX {
		l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: ebpf.AttachTCXIngress})
		h.links = append(h.links, l)
		return err
	}
	if err := Clsact(ifindex); err != nil {
		return err
	}
	return netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          program.FD(), Name: "adapter", DirectAction: true,
	})
}

// Clsact sees that there is a clsact qdisc.
func Clsact(ifindex int) error {
	err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}
