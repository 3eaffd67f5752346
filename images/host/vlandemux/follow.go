package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// follower tells the dataplane what becomes of the interfaces of this network namespace, and looks
// again at each whose qdiscs or filters somebody removes.
type follower struct {
	plane dataplane
	net   *netlink.Handle
	log   *slog.Logger
	// buffer is the size of the socket's buffer for the kernel's messages, in octets.
	buffer int

	mu        sync.Mutex
	following control.Following // guarded by mu
}

const (
	// linkBuffer is follower.buffer of run. Some hosts make interfaces by the thousand; when it overflows all
	// the same, every interface of the demux is looked at again.
	linkBuffer = 4 << 20
	// resyncPause is the least time between two such looks: where messages overflow all the time, the
	// demux has other things to do as well.
	resyncPause = 100 * time.Millisecond
)

// state says how often messages were lost. It may be called at any time.
func (f *follower) state() control.Following {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.following
}

// follow follows the interfaces until ctx ends. It is ready once it has called started.
func (f *follower) follow(ctx context.Context, started func()) error {
	for {
		if err := f.once(ctx, started); err != nil {
			return fmt.Errorf("following the interfaces: %w", err)
		}
		started = func() {}
		if ctx.Err() != nil {
			return nil
		}
		f.mu.Lock()
		f.following.Overflows++
		f.following.LastOverflow = time.Now()
		n := f.following.Overflows
		f.mu.Unlock()
		f.log.Warn("the kernel's messages about interfaces overflowed: looking at every interface again", "overflows", n)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(resyncPause):
		}
	}
}

// once subscribes, looks at what there is and follows until ctx ends or messages are lost.
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
	if socket.SetReceiveBufferSize(f.buffer, true) != nil {
		_ = socket.SetReceiveBufferSize(f.buffer, false)
	}
	// Subscribed first: what changes after the look comes as a message.
	if err := f.tell(f.plane.Resync()); err != nil {
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
			err = f.tell(f.plane.Reconcile(changed, gone))
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

// tell logs what was done.
func (f *follower) tell(done []demux.Change, err error) error {
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
