package wire

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Statistics are counters by node and the kernel's name for them.
type Statistics map[string]map[string]uint64

// Statistics reads those of each namespace's stack ("Udp InDatagrams"), of its interfaces ("eth0 receive packets") and, under
// the name "processors", of the machine's backlogs ("0 dropped").
func (n *Network) Statistics() (Statistics, error) {
	all, err := n.read("snmp", "snmp6", "netstat", "dev")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/thread-self/net/softnet_stat")
	if err != nil {
		return nil, fmt.Errorf("reading the processors' backlogs: %w", err)
	}
	all["processors"] = parseSoftnet(string(text))
	return all, nil
}

func (n *Network) read(files ...string) (Statistics, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, errClosed
	}
	all := Statistics{}
	for _, ns := range n.nodes {
		counters := map[string]uint64{}
		all[ns.node] = counters
		err := ns.do(func() error {
			for _, file := range files {
				text, err := os.ReadFile("/proc/thread-self/net/" + file)
				switch {
				case os.IsNotExist(err): // no IPv6
				case err != nil:
					return err
				case file == "dev":
					parseDevices(string(text), counters)
				default:
					parseStack(string(text), counters)
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading counters: %w", err)
		}
	}
	return all, nil
}

// parseStack reads snmp and netstat, whose lines are names and then values behind a
// protocol's name, or snmp6, which has one counter a line. What is no number is left out.
func parseStack(text string, counters map[string]uint64) {
	add := func(name, value string) {
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			counters[name] = n
		}
	}
	names := map[string][]string{} // by protocol
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if protocol := fields[0]; len(fields) == 2 && !strings.HasSuffix(protocol, ":") {
			add(fields[0], fields[1])
		} else if names[protocol] == nil {
			names[protocol] = fields
		} else {
			for i, name := range names[protocol][:min(len(fields), len(names[protocol]))] {
				add(strings.TrimSuffix(protocol, ":")+" "+name, fields[i])
			}
		}
	}
}

// parseDevices reads dev: two lines of headings, then an interface a line.
func parseDevices(text string, counters map[string]uint64) {
	columns := []string{
		"receive octets", "receive packets", "receive errors", "receive drops", "receive FIFO errors", "receive frame errors", "receive compressed", "receive multicast",
		"transmit octets", "transmit packets", "transmit errors", "transmit drops", "transmit FIFO errors", "collisions", "carrier errors", "transmit compressed",
	}
	for line := range strings.Lines(text) {
		name, values, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		for i, value := range strings.Fields(values) {
			if n, err := strconv.ParseUint(value, 10, 64); err == nil && i < len(columns) {
				counters[strings.TrimSpace(name)+" "+columns[i]] = n
			}
		}
	}
}

// parseSoftnet reads softnet_stat: a processor a line, hexadecimal. What the columns mean is in net/core/net-procfs.c.
func parseSoftnet(text string) map[string]uint64 {
	counters := map[string]uint64{}
	names := map[int]string{0: "processed", 1: "dropped", 2: "time squeeze", 9: "received by RPS", 10: "flow limit", 11: "backlog"}
	processor := 0
	for line := range strings.Lines(text) {
		for i, value := range strings.Fields(line) {
			if n, err := strconv.ParseUint(value, 16, 64); err == nil && names[i] != "" {
				counters[fmt.Sprintf("%d %s", processor, names[i])] = n
			}
		}
		processor++
	}
	return counters
}
