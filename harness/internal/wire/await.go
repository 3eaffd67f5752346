package wire

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// upTimeout is how long a link may take to become operational; the kernel's
// own limit is a second.
const upTimeout = 10 * time.Second

// awaitUp returns once the interfaces, which have been brought up with their
// peers, are operational. Until then they drop what they are to send: an end
// whose peer comes up after it gets its queues from the kernel's link watch,
// some milliseconds later, and a bridge does not forward to it before.
func (ns *namespace) awaitUp(ctx context.Context, indexes ...int) error {
	if down, err := ns.firstDown(indexes); err != nil || down == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	// Subscribed before looking again, so that no change falls in between.
	events, err := nl.SubscribeAt(netns.NsHandle(ns.fd()), netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("subscribing to link changes of %s: %w", ns.node, err)
	}
	defer events.Close()
	defer context.AfterFunc(ctx, events.Close)() // ends Receive
	for {
		down, err := ns.firstDown(indexes)
		if err != nil || down == 0 {
			return err
		}
		_, _, err = events.Receive()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for interface %d of %s to become operational: %w", down, ns.node, ctx.Err())
		case err != nil && !errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("waiting for interface %d of %s to become operational: %w", down, ns.node, err)
		}
	}
}

// firstDown is the first interface that is not operational, 0 if there is none.
func (ns *namespace) firstDown(indexes []int) (int, error) {
	for _, i := range indexes {
		l, err := ns.handle.LinkByIndex(i)
		if err != nil {
			return 0, fmt.Errorf("reading interface %d of %s: %w", i, ns.node, err)
		}
		if (l.Type() == "tuntap" || l.Type() == "ifb") && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			continue // these know no operational state
		}
		if l.Attrs().OperState != netlink.OperUp {
			return i, nil
		}
	}
	return 0, nil
}
