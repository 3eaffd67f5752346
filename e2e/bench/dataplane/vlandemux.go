package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// process is a `vlandemux run` on a path: the program an operator runs, started
// and asked as an operator would.
type process struct {
	path    *path
	clients int
	folder  string
	args    []string
	cmd     *exec.Cmd
	exited  chan error
	control *control.Client
	// took is the time from the start of the process to its first answer.
	took time.Duration
}

// startDemux runs vlandemux with that many clients assigned to the path's worker, and with more arguments.
func startDemux(ctx context.Context, p *path, clients int, args ...string) (*process, error) {
	folder, err := os.MkdirTemp("", "vlandemux-")
	if err != nil {
		return nil, err
	}
	d := &process{path: p, clients: clients, folder: folder}
	p.keep(d)
	pins := filepath.Join(folder, "bpffs")
	if err := errors.Join(os.Mkdir(pins, 0o700), unix.Mount("bpf", pins, "bpf", 0, "")); err != nil {
		return nil, fmt.Errorf("mounting a BPF file system: %w", err)
	}
	socket := filepath.Join(folder, "socket")
	d.control = control.Dial(socket)
	config := filepath.Join(folder, "config.yaml")
	if err := writeConfig(config, clients); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	d.args = append([]string{"run", "--config", config, "--socket", socket, "--bpffs", filepath.Join(pins, "demux"),
		"--capacity", strconv.Itoa(min(max(clients+clients/20, 4096), 1<<20))}, args...)
	return d, d.run(ctx)
}

// writeConfig writes the assignments of clients 0 to n-1.
func writeConfig(name string, clients int) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	fmt.Fprintf(w, "trunks: [%s]\nassign:\n", trunkName)
	for i := range clients {
		fmt.Fprintf(w, "  %q: %s\n", clientMAC(i), workerEnd)
	}
	return errors.Join(w.Flush(), file.Close())
}

// run starts the process and returns once it has answered.
func (d *process) run(ctx context.Context) error {
	var log strings.Builder
	d.cmd = exec.CommandContext(ctx, vlandemuxPath, d.args...)
	d.cmd.Stderr = &log
	start := time.Now()
	if err := d.path.host.do(d.cmd.Start); err != nil {
		return fmt.Errorf("starting vlandemux: %w", err)
	}
	d.exited = make(chan error, 1)
	go func() { d.exited <- d.cmd.Wait() }()
	for {
		// Who connects once the socket is there waits until vlandemux is ready.
		_, err := d.control.Status(ctx)
		if err == nil {
			d.took = time.Since(start)
			return nil
		}
		select {
		case err := <-d.exited:
			d.cmd = nil
			return fmt.Errorf("vlandemux %s ended: %w:\n%s", strings.Join(d.args, " "), err, log.String())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// stop ends the process; its dataplane goes on.
func (d *process) stop() error {
	if d.cmd == nil {
		return nil
	}
	d.control.Close()
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	if err == nil {
		err = <-d.exited
	}
	d.cmd = nil
	if err != nil {
		return fmt.Errorf("stopping vlandemux: %w", err)
	}
	return nil
}

// Close ends the process and the dataplane.
func (d *process) Close() error {
	return errors.Join(d.stop(), unix.Unmount(filepath.Join(d.folder, "bpffs"), unix.MNT_DETACH), os.RemoveAll(d.folder))
}

// running finds the programs that the process has attached.
func (d *process) running(p *path) (_ *running, err error) {
	r := &running{demux: d}
	if r.phys2virt, err = p.attached(p.trunk); err == nil {
		r.virt2phys, err = p.attached(p.worker)
	}
	return r, err
}

// attached returns the program at the tcx ingress of one of the host's interfaces.
func (p *path) attached(ifindex int) (program *ebpf.Program, err error) {
	err = p.host.do(func() error {
		found, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		if len(found.Programs) != 1 {
			return fmt.Errorf("%d programs are attached, not 1", len(found.Programs))
		}
		program, err = ebpf.NewProgramFromID(found.Programs[0].ID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for vlandemux's program on interface %d: %w", ifindex, err)
	}
	p.keep(program)
	return program, nil
}

// resident returns the octets of memory that the process has.
func (d *process) resident() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib * 1024, nil
		}
	}
	return 0, errors.New("the kernel does not say how much memory vlandemux has")
}

// mapped returns the octets of memory that the maps of the program have, and those of each possible CPU among them.
func mapped(program *ebpf.Program) (sum, eachCPU float64, err error) {
	info, err := program.Info()
	if err != nil {
		return 0, 0, err
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return 0, 0, err
		}
		info, err := m.Info()
		_ = m.Close()
		if err != nil {
			return 0, 0, err
		}
		octets, _ := info.Memlock()
		sum += float64(octets)
		switch values := float64(info.MaxEntries) * float64(info.ValueSize); {
		case info.Type == ebpf.PerCPUArray:
			eachCPU += values
		case info.Name == "client_tallies": // a part for each
			eachCPU += values / float64(ebpf.MustPossibleCPU())
		}
	}
	return sum, eachCPU, nil
}
