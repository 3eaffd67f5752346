package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attachedLine begins the lines of programs that are attached.
const attachedLine = "attached program "

// addLinks lists the interfaces of the calling thread's namespace and the BPF programs attached to them.
func (l *Leftovers) addLinks(node string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	var errs []error
	for _, found := range links {
		attributes := found.Attrs()
		name := node + "/" + attributes.Name
		l.add("link %s", name)
		errs = append(errs, l.addTCX(name, attributes.Index), l.addFilters(name, found))
	}
	return errors.Join(errs...)
}

func (l *Leftovers) addTCX(name string, index int) error {
	for direction, attach := range map[string]ebpf.AttachType{"ingress": ebpf.AttachTCXIngress, "egress": ebpf.AttachTCXEgress} {
		result, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: attach})
		if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
			return nil // a kernel before 6.6 has no TCX to leave anything in
		}
		if err != nil {
			return fmt.Errorf("asking for the programs at %s: %w", name, err)
		}
		for _, program := range result.Programs {
			l.add(attachedLine+"%s tcx %s %s", name, direction, programName(program.ID))
		}
	}
	return nil
}

// programName falls back on the ID, for a program that is gone by now.
func programName(id ebpf.ProgramID) string {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return fmt.Sprintf("program %d", id)
	}
	defer program.Close() //nolint:errcheck // only looked at
	info, err := program.Info()
	if err != nil || info.Name == "" {
		return fmt.Sprintf("program %d", id)
	}
	return info.Name
}

func (l *Leftovers) addFilters(name string, found netlink.Link) error {
	for direction, parent := range map[string]uint32{"ingress": netlink.HANDLE_MIN_INGRESS, "egress": netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(found, parent)
		if err != nil {
			return fmt.Errorf("listing the filters of %s: %w", name, err)
		}
		for _, filter := range filters {
			if bpf, ok := filter.(*netlink.BpfFilter); ok {
				l.add(attachedLine+"%s clsact %s %s", name, direction, bpf.Name)
			}
		}
	}
	return nil
}

// addNamespaces lists the network namespaces that this process holds open, but for one.
func (l *Leftovers) addNamespaces(other string) error {
	// Not /proc/self: that is the first thread, which may be in another namespace at the moment.
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, descriptor := range descriptors {
		target, err := os.Readlink("/proc/self/fd/" + descriptor.Name())
		if err == nil && strings.HasPrefix(target, "net:[") && target != own && target != other {
			l.add("network namespace %s", target)
		}
	}
	return nil
}

// addDescriptors lists the BPF objects that a process holds open.
func (l *Leftovers) addDescriptors(pid int) error {
	return eachBPF(pid, func(kind string, id uint32) { l.add("%s %d", kind, id) })
}

// The kinds of BPF objects.
const bpfProgram, bpfMap, bpfLink = "BPF program", "BPF map", "BPF link"

// eachBPF calls held for the BPF objects that a process holds open. A process that has ended holds none.
func eachBPF(pid int, held func(kind string, id uint32)) error {
	folder := fmt.Sprintf("/proc/%d/fdinfo", pid)
	descriptors, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	kinds := map[string]string{"prog_id": bpfProgram, "map_id": bpfMap, "link_id": bpfLink}
	for _, descriptor := range descriptors {
		info, err := os.ReadFile(filepath.Join(folder, descriptor.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		for lines := bufio.NewScanner(bytes.NewReader(info)); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ":")
			kind, known := kinds[name]
			if !known {
				continue
			}
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			if err != nil {
				return fmt.Errorf("reading %s of descriptor %s: %w", name, descriptor.Name(), err)
			}
			held(kind, uint32(id))
		}
	}
	return nil
}

// addPins lists what is below a BPF file system, but for what the kernel itself puts into each new one.
func (l *Leftovers) addPins(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // unpinned meanwhile
		}
		if err == nil && path != root && path != filepath.Join(root, "maps.debug") && path != filepath.Join(root, "progs.debug") {
			l.add("pin %s", path)
		}
		return err
	})
}

// processName is the command's name; "process" for one that has ended.
func processName(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "process"
	}
	return strings.TrimSpace(string(name))
}
