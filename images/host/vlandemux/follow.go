package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// follower tells the dataplane what becomes of the interfaces of this network namespace, and looks
// again at each whose qdiscs or filters somebody removes.
type follower struct {
	plane dataplane
	net   *netlink.Handle
	log   *slog.Logger
}

// linkBuffer is the socket buffer for messages of the kernel, in octets. Some hosts make interfaces by the
// thousand; when it overflows all the same, everything is listed again.
const linkBuffer = 4 << 20

// follow follows the interfaces until ctx ends. It is ready once it has called started.
func (f *follower) follow(ctx context.Context, started func()) error {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			f.log.Warn("the kernel's messages about interfaces overflowed: listing all interfaces again")
		}
		if err := f.once(ctx, started); err != nil {
			return fmt.Errorf("following the interfaces: %w", err)
		}
		started = func() {}
	}
	return nil
}

// once subscribes, lists what there is and follows until ctx ends or messages are lost.
func (f *follower) once(ctx context.Context, started func()) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_TC)
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	closed := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if closed() {
			socket.Close()
		}
	}()
	// Forcing needs a capability that there may not be; more is better than nothing.
	if socket.SetReceiveBufferSize(linkBuffer, true) != nil {
		_ = socket.SetReceiveBufferSize(linkBuffer, false)
	}
	// Subscribed first: what changes while the list is made comes again as a message.
	links, err := f.net.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) && ctx.Err() == nil {
		links, err = f.net.LinkList() // some came or went while the list was read
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing the interfaces: %w", err)
	}
	all := make([]demux.Link, 0, len(links))
	for _, link := range links {
		all = append(all, demux.NewLink(link))
	}
	if err := f.reconcile(all, nil, true); err != nil {
		return err
	}
	started()
	for {
		messages, _, err := socket.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return fmt.Errorf("reading messages: %w", err)
		}
		changed, gone, err := f.read(messages)
		if err == nil && len(changed)+len(gone) > 0 {
			err = f.reconcile(changed, gone, false)
		}
		if err != nil {
			return err
		}
	}
}

// read takes the messages of one datagram. Of an interface that came and went it is the last that counts.
func (f *follower) read(messages []syscall.NetlinkMessage) (changed []demux.Link, gone []int, err error) {
	latest := make(map[int]*demux.Link)
	var order []int
	note := func(index int, link *demux.Link) {
		if _, known := latest[index]; !known {
			order = append(order, index)
		}
		latest[index] = link
	}
	for _, message := range messages {
		switch message.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			info := nl.DeserializeIfInfomsg(message.Data)
			if info.Family != unix.AF_UNSPEC {
				continue // an interface joins or leaves a bridge
			}
			if message.Header.Type == unix.RTM_DELLINK {
				note(int(info.Index), nil)
				gone = append(gone, int(info.Index))
				continue
			}
			header := unix.NlMsghdr{Len: message.Header.Len, Type: message.Header.Type}
			link, err := netlink.LinkDeserialize(&header, message.Data)
			if err != nil {
				return nil, nil, fmt.Errorf("reading a message about an interface: %w", err)
			}
			described := demux.NewLink(link)
			note(described.Index, &described)
		case unix.RTM_DELQDISC, unix.RTM_DELTFILTER:
			index := int(nl.DeserializeTcMsg(message.Data).Ifindex)
			if link, known := latest[index]; known && link == nil {
				continue
			}
			link, err := f.net.LinkByIndex(index)
			if err != nil {
				continue // it went with its interface
			}
			described := demux.NewLink(link)
			note(index, &described)
		}
	}
	for _, index := range order {
		if latest[index] != nil {
			changed = append(changed, *latest[index])
		}
	}
	return changed, gone, nil
}

func (f *follower) reconcile(changed []demux.Link, gone []int, all bool) error {
	done, err := f.plane.Reconcile(changed, gone, all)
	for _, change := range done {
		if change.Err != nil {
			f.log.Error("following an interface", "interface", change.Name, "change", change.What, "error", change.Err)
			continue
		}
		f.log.Warn("an interface of the demux changed", "interface", change.Name, "change", change.What)
	}
	if err != nil {
		return fmt.Errorf("following a change of interfaces: %w", err)
	}
	return nil
}
