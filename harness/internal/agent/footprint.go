package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Footprint is what there is in the network namespace of an agent's container, one thing a line: each interface, and how many sockets
// of each protocol the kernel knows, those in TIME_WAIT among them. A container can be used again if it has the footprint it had when it was new.
type Footprint []string

// Footprint asks what there is in the container's network namespace.
func (c *Client) Footprint(ctx context.Context) (Footprint, error) {
	return call[Nothing, Footprint](ctx, c, "/footprint", Nothing{})
}

func footprint() (Footprint, error) {
	lines, err := sockets()
	links, linkErr := netlink.LinkList()
	for _, link := range links {
		lines = append(lines, fmt.Sprintf("interface %s (%s)", link.Attrs().Name, link.Type()))
	}
	if err = errors.Join(err, linkErr); err != nil {
		return nil, fmt.Errorf("listing what is in the container's network namespace: %w", err)
	}
	slices.Sort(lines)
	return lines, nil
}

// sockets counts those of the namespace by protocol and state, "TCP inuse 0 tw 0".
func sockets() ([]string, error) {
	var lines []string
	var errs []error
	for _, path := range []string{"/proc/self/net/sockstat", "/proc/self/net/sockstat6"} {
		file, err := os.Open(path)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
				errs = append(errs, err)
			}
			continue
		}
		defer file.Close() //nolint:errcheck // only read
		for scan := bufio.NewScanner(file); scan.Scan(); {
			name, counts, _ := strings.Cut(scan.Text(), ": ")
			if name == "sockets" { // it counts the netlink sockets of whoever asks
				continue
			}
			// These are of the whole machine.
			fields := strings.Fields(counts)
			line := []string{name}
			for i := 0; i+1 < len(fields); i += 2 {
				if !slices.Contains([]string{"orphan", "alloc", "mem", "memory"}, fields[i]) {
					line = append(line, fields[i], fields[i+1])
				}
			}
			lines = append(lines, strings.Join(line, " "))
		}
	}
	return lines, errors.Join(errs...)
}
