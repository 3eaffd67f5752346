package wire

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Statistics are counters by node and the kernel's name for them.
type Statistics map[string]map[string]uint64

// Statistics reads the counters of each namespace's stack ("Udp InDatagrams"), of its interfaces ("eth0 receive packets") and, under
// the name "processors", of the machine's backlogs ("0 dropped"). Before are those of when the node was wired.
func (n *Network) Statistics() (before, now Statistics, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, nil, errClosed
	}
	files, err := readStatistics(n.nodes)
	if err != nil {
		return nil, nil, err
	}
	return n.began.parse(), files.parse(), nil
}

// counterFiles are files of /proc/net by node and name, as the kernel wrote them.
type counterFiles map[string]map[string]string

// readStatistics leaves what is read unparsed: it is asked for when a spec has failed.
func readStatistics(nodes []*namespace) (counterFiles, error) {
	all, err := readCounters(nodes, "snmp", "snmp6", "netstat", "dev")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile("/proc/thread-self/net/softnet_stat")
	if err != nil {
		return nil, fmt.Errorf("reading the processors' backlogs: %w", err)
	}
	all["processors"] = map[string]string{"softnet_stat": string(text)}
	return all, nil
}

func readCounters(nodes []*namespace, files ...string) (counterFiles, error) {
	all := counterFiles{}
	for _, ns := range nodes {
		texts := map[string]string{}
		all[ns.node] = texts
		err := ns.do(func() error {
			for _, file := range files {
				text, err := os.ReadFile("/proc/thread-self/net/" + file)
				if err != nil && !os.IsNotExist(err) { // no IPv6
					return err
				}
				texts[file] = string(text)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading counters: %w", err)
		}
	}
	return all, nil
}

func (c counterFiles) parse() Statistics {
	all := Statistics{}
	for node, texts := range c {
		counters := map[string]uint64{}
		all[node] = counters
		for file, text := range texts {
			switch file {
			case "dev":
				parseDevices(text, counters)
			case "softnet_stat":
				parseSoftnet(text, counters)
			default:
				parseStack(text, counters)
			}
		}
	}
	return all
}

// parseStack reads snmp and netstat, whose lines are names and then values behind a
// protocol's name, or snmp6, which has one counter a line. What is no number is left out.
func parseStack(text string, counters map[string]uint64) {
	add := func(protocol, name, value string) {
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			counters[strings.TrimSpace(strings.TrimSuffix(protocol, ":")+" "+name)] = n
		}
	}
	names := map[string][]string{} // by protocol
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if protocol := fields[0]; len(fields) == 2 && !strings.HasSuffix(protocol, ":") {
			add("", fields[0], fields[1])
		} else if names[protocol] == nil {
			names[protocol] = fields
		} else {
			for i := 1; i < min(len(fields), len(names[protocol])); i++ {
				add(protocol, names[protocol][i], fields[i])
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
func parseSoftnet(text string, counters map[string]uint64) {
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
}
