package wire

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ChecksumErrors counts, for the host and each client and worker, the packets that its
// stack has dropped for a wrong checksum since its namespace is there: by the node's
// name and the kernel's for the counter, such as "w0 Udp InCsumErrors".
func (n *Network) ChecksumErrors() (map[string]uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	counts := map[string]uint64{}
	for _, ns := range n.nodes {
		process := strconv.Itoa(ns.pid)
		switch {
		case ns == n.sw:
			continue // it has no addresses and receives nothing
		case ns.pid == 0:
			process = "thread-self"
		}
		for _, file := range []string{"snmp", "snmp6"} {
			text, err := os.ReadFile("/proc/" + process + "/net/" + file)
			if os.IsNotExist(err) {
				continue // no IPv6, or a container that has ended
			}
			if err != nil {
				return nil, fmt.Errorf("reading the stack's counters of %s: %w", ns.node, err)
			}
			for name, count := range checksumErrors(string(text)) {
				counts[ns.node+" "+name] = count
			}
		}
	}
	return counts, nil
}

// checksumErrors reads snmp, whose lines are names and then values behind a
// protocol's name, or snmp6, which has one counter a line.
func checksumErrors(text string) map[string]uint64 {
	counts := map[string]uint64{}
	add := func(name, value string) {
		if n, err := strconv.ParseUint(value, 10, 64); err == nil && strings.HasSuffix(name, "InCsumErrors") {
			counts[name] = n
		}
	}
	names := map[string][]string{} // by protocol
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 {
			add(fields[0], fields[1])
		} else if protocol := fields[0]; names[protocol] == nil {
			names[protocol] = fields
		} else {
			for i, name := range names[protocol] {
				add(strings.TrimSuffix(protocol, ":")+" "+name, fields[i])
			}
		}
	}
	return counts
}
