package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// readCounters reads a [Counters]. Clients that stand a line each, as a [Server] writes them, are read line by
// line: encoding/json takes microseconds for each, and there can be a million.
func readCounters(body io.Reader, into *Counters) error {
	in := bufio.NewReaderSize(io.LimitReader(body, maxAnswer), 64<<10)
	rest := io.Reader(in)
	var clients []ClientCounters
	if head, _ := in.Peek(len(countersHead) + 1); string(head) == countersHead+"\n" {
		_, _ = in.Discard(len(head))
		var err error
		if clients, err = readClients(in); err != nil {
			return fmt.Errorf("decoding the counters: %w", err)
		}
		rest = io.MultiReader(strings.NewReader(countersHead), in)
	}
	if err := json.NewDecoder(rest).Decode(into); err != nil {
		return fmt.Errorf("decoding the counters: %w", err)
	}
	if len(clients) > 0 {
		into.Clients = clients
	}
	return nil
}

// readClients reads lines up to the one that ends the list.
func readClients(in *bufio.Reader) (clients []ClientCounters, err error) {
	r := rowReader{workers: map[string]string{}, locations: map[string]*Location{}}
	for {
		if first, err := in.Peek(1); err != nil || first[0] == ']' {
			return clients, err
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, ",\n")
		clients = append(clients, ClientCounters{})
		c := &clients[len(clients)-1]
		if !r.decode(line, c) {
			*c = ClientCounters{}
			if err := json.Unmarshal(line, c); err != nil {
				return nil, err
			}
		}
	}
}

// rowReader reads what a clientRow writes. Workers and locations are few: clients share them.
type rowReader struct {
	workers   map[string]string
	locations map[string]*Location
}

// decode returns false for a line that is written in another way.
func (r *rowReader) decode(line []byte, c *ClientCounters) bool {
	rest, ok := line, true
	text := func(before string, until byte) []byte {
		if !ok || len(rest) < len(before) || string(rest[:len(before)]) != before {
			ok = false
			return nil
		}
		rest = rest[len(before):]
		end := bytes.IndexByte(rest, until)
		if end < 0 {
			ok = false
			return nil
		}
		found := rest[:end]
		rest = rest[end+1:]
		return found
	}
	number := func(before string, until byte) (n uint64) {
		digits := text(before, until)
		for _, digit := range digits {
			next := n*10 + uint64(digit-'0')
			ok = ok && digit >= '0' && digit <= '9' && next/10 == n
			n = next
		}
		ok = ok && len(digits) > 0
		return n
	}
	mac, worker := text(`{"mac":"`, '"'), text(`,"worker":"`, '"')
	c.Rx = Tally{Packets: number(`,"rx":{"packets":`, ','), Bytes: number(`"bytes":`, '}')}
	c.Tx = Tally{Packets: number(`,"tx":{"packets":`, ','), Bytes: number(`"bytes":`, '}')}
	if !ok || len(rest) == 0 || bytes.IndexByte(worker, '\\') >= 0 {
		return false
	}
	var err error
	if c.MAC, err = demux.ParseMAC(string(mac)); err != nil {
		return false
	}
	if c.Worker, ok = r.workers[string(worker)]; !ok {
		c.Worker = string(worker)
		r.workers[c.Worker] = c.Worker
	}
	if len(rest) == 1 {
		return rest[0] == '}'
	}
	const name = `,"location":`
	if c.Location, ok = r.locations[string(rest)]; !ok && bytes.HasPrefix(rest, []byte(name)) {
		c.Location = new(Location)
		ok = json.Unmarshal(bytes.TrimSuffix(rest[len(name):], []byte("}")), c.Location) == nil
		r.locations[string(rest)] = c.Location
	}
	return ok
}
