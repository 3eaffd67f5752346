package demux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// FollowOptions configure [Demux.Follow].
type FollowOptions struct {
	// Looked is called each time every interface has been looked at: at the start, and
	// after messages were lost.
	Looked func()
	// Changed is called for each thing that was done.
	Changed func(Change)
	// Overflowed is called when the kernel had to drop messages.
	Overflowed func()
	// Buffer is the size of the buffer for the kernel's messages, in octets. Optional, default
	// 4 MiB: some hosts make interfaces by the thousand.
	Buffer int
}

const (
	followBuffer = 4 << 20
	// resyncPause is the least time between two looks at every interface: where messages
	// overflow all the time, the demux has other things to do as well.
	resyncPause = 100 * time.Millisecond
)

// Follow keeps trunks and workers in agreement with the interfaces of the calling
// thread's network namespace until ctx ends (nil), and puts back what somebody takes off
// them. When the kernel's messages come faster than they are read, every interface is
// looked at again, at most ten times a second.
func (d *Demux) Follow(ctx context.Context, opts FollowOptions) error {
	opts.Buffer = cmp.Or(opts.Buffer, followBuffer)
	following, stop := context.WithCancel(ctx)
	peers := make(chan struct{})
	go func() {
		defer close(peers)
		d.followPeers(following, opts.Changed)
	}()
	defer func() {
		stop()
		<-peers
	}()
	for {
		if err := d.followOnce(ctx, opts); err != nil {
			return fmt.Errorf("following the interfaces: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		opts.Overflowed()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(resyncPause):
		}
	}
}

// peerInterval is how often the other ends of veths are looked at.
const peerInterval = time.Second

// followPeers looks at the other ends of veths until ctx ends.
func (d *Demux) followPeers(ctx context.Context, changed func(Change)) {
	for pause := peerInterval; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		start := time.Now()
		for _, change := range d.checkPeers() {
			changed(change)
		}
		pause = max(peerInterval, 50*time.Since(start)) // there may be tens of thousands
	}
}

// followOnce subscribes, looks at what there is and follows until ctx ends or messages are lost.
func (d *Demux) followOnce(ctx context.Context, opts FollowOptions) error {
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
	if socket.SetReceiveBufferSize(opts.Buffer, true) != nil {
		_ = socket.SetReceiveBufferSize(opts.Buffer, false)
	}
	// Subscribed first: what changes after the look comes as a message.
	done, err := d.Resync()
	if err != nil {
		return err
	}
	tell := func(done []Change) {
		for _, change := range done {
			opts.Changed(change)
		}
	}
	tell(done)
	opts.Looked()
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
		changed, gone, err := d.read(messages)
		if err == nil && len(changed)+len(gone) > 0 {
			done, err = d.Reconcile(changed, gone)
			tell(done)
		}
		if err != nil {
			return err
		}
	}
}

// read takes the messages of one datagram. Of an interface that came and went it is the last that counts.
func (d *Demux) read(messages []syscall.NetlinkMessage) (changed []Link, gone []int, err error) {
	latest := make(map[int]*Link)
	var order []int
	note := func(index int, link *Link) {
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
			described := NewLink(link)
			note(described.Index, &described)
		case unix.RTM_DELQDISC, unix.RTM_DELTFILTER:
			index := int(nl.DeserializeTcMsg(message.Data).Ifindex)
			if link, known := latest[index]; known && link == nil {
				continue
			}
			link, err := d.net.LinkByIndex(index)
			if err != nil {
				continue // it went with its interface
			}
			described := NewLink(link)
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
