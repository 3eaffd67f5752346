package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mldReports is how often a stack reports the groups of a new address: the
	// robustness variable of RFC 3810, section 9.1.
	mldReports = 2
	// mldStill is how long nothing has been reported when all has been: with the
	// interval that quiet sets, reports follow one another within milliseconds.
	mldStill   = 50 * time.Millisecond
	mldPoll    = 2 * time.Millisecond
	mldTimeout = 10 * time.Second
)

// mldReporter is a node whose stack says which groups it is in, as soon as its
// interface has an IPv6 address, and how many reports it had sent before.
type mldReporter struct {
	ns     *namespace
	before uint64
}

// reporters are the nodes that get an IPv6 address.
func (b *builder) reporters(p procfs) ([]mldReporter, error) {
	var found []mldReporter
	add := func(ns *namespace, ipv6 bool) error {
		if !ipv6 {
			return nil
		}
		before, err := p.mldReports(ns)
		found = append(found, mldReporter{ns, before})
		return err
	}
	for i, pair := range b.ports {
		if err := add(pair.farNS, hasIPv6(b.n.plan.Clients[i].Addresses)); err != nil {
			return nil, err
		}
	}
	for i, pair := range b.workers {
		if err := add(pair.farNS, hasIPv6(b.n.plan.Workers[i].Addresses)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// awaitMLD returns once each node has sent its reports. Until then a lab is not
// silent, however late a busy machine sends them.
func awaitMLD(ctx context.Context, p procfs, nodes []mldReporter) error {
	if len(nodes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mldTimeout)
	defer cancel()
	tick := time.NewTicker(mldPoll)
	defer tick.Stop()
	var last []uint64
	still := time.Now()
	for {
		var sent []uint64
		var missing string
		for _, n := range nodes {
			count, err := p.mldReports(n.ns)
			if err != nil {
				return err
			}
			sent = append(sent, count)
			if count < n.before+mldReports {
				missing = n.ns.node
			}
		}
		if !slices.Equal(sent, last) {
			last, still = sent, time.Now()
		}
		if missing == "" && time.Since(still) >= mldStill {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the last MLD report of %s: %w", missing, context.Cause(ctx))
		}
	}
}

// mldReports is how many MLDv2 reports a namespace has sent in its life.
func (p procfs) mldReports(ns *namespace) (count uint64, err error) {
	err = ns.do(func() error {
		fd, err := unix.Openat(int(p.root.Fd()), "thread-self/net/snmp6", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "snmp6")
		text, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "Icmp6OutMLDv2Reports" {
				count, err = strconv.ParseUint(fields[1], 10, 64)
				return err
			}
		}
		return errors.New("there is no Icmp6OutMLDv2Reports in it")
	})
	if err != nil {
		return 0, fmt.Errorf("reading the IPv6 counters (net/snmp6) of %s: %w", ns.node, err)
	}
	return count, nil
}
