package wire

import "strings"

// ChecksumErrors counts, for the host and each client and worker, the packets that its
// stack has dropped for a wrong checksum since its namespace is there: by the node's
// name and the kernel's for the counter, such as "w0 Udp InCsumErrors".
func (n *Network) ChecksumErrors() (map[string]uint64, error) {
	all, err := n.read("snmp", "snmp6")
	if err != nil {
		return nil, err
	}
	counts := map[string]uint64{}
	for node, counters := range all {
		for name, count := range counters {
			if strings.HasSuffix(name, "InCsumErrors") {
				counts[node+" "+name] = count
			}
		}
	}
	return counts, nil
}
