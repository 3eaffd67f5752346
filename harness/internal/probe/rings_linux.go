package probe

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// rings are those of one interface: one for everything, or one for everything but super-packets of SCTP, and one
// for these, for which the kernel has no virtio_net_hdr. One goroutine uses them, but for the bell.
type rings struct {
	bell
	all    []*ring
	spares *Spares
}

func openRings(point TapPoint, opts TapOptions) (*rings, error) {
	takes := []packets{allPackets}
	if point.SCTPSegment != 0 {
		takes = []packets{otherPackets, sctpSuperPackets}
	}
	rs := &rings{spares: opts.Spares}
	err := rs.open()
	for _, take := range takes {
		if err == nil {
			var r *ring
			if r, err = openRing(point, opts, take); err == nil {
				rs.all = append(rs.all, r)
				err = rs.add(r.fd)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, rs.close())
	}
	return rs, nil
}

// failure is why the socket's poll tells of an error, nil if it goes on.
func (r *ring) failure() error {
	number, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("asking for the socket's error: %w", err)
	}
	switch errno := unix.Errno(number); errno {
	case 0:
	case unix.ENETDOWN: // the socket goes on by itself once the interface is up again
		r.down++
	default:
		return fmt.Errorf("capturing: %w", errno)
	}
	return nil
}

// drain tells whether there was anything.
func (rs *rings) drain(handle func(*tapped)) (some bool, err error) {
	for _, r := range rs.all {
		if r.drain(handle) {
			some = true
		} else if err := r.failure(); err != nil {
			return some, err
		}
	}
	return some, nil
}

// run hands packets over until stop is called, then those that had arrived by then.
func (rs *rings) run(handle func(*tapped)) error {
	for {
		err := rs.wait(func() (bool, error) {
			_, err := rs.drain(handle)
			return false, err
		})
		if err != nil {
			return err
		}
		stop, answer := rs.hear()
		if stop {
			return rs.finish(handle)
		}
		if answer != nil {
			if err := rs.catchUp(handle); err != nil {
				return err
			}
			answer()
		}
	}
}

func (rs *rings) report(to *TapReport) {
	for _, r := range rs.all {
		to.Packets += r.packets
		to.Read += r.read
		to.Dropped += r.dropped
		to.Marked += r.marked
		to.Down = max(to.Down, r.down)
	}
}

func (rs *rings) again() bool {
	for _, r := range rs.all {
		if !r.asNew() {
			return false
		}
	}
	for _, r := range rs.all {
		r.forget()
	}
	return true
}

// finish stops the capture and hands over what had arrived.
func (rs *rings) finish(handle func(*tapped)) error {
	for _, r := range rs.all {
		if err := r.end(); err != nil {
			return err
		}
	}
	return rs.catchUp(handle)
}

// catchUp hands over what has arrived. A block that is still open is handed over by
// its timer.
func (rs *rings) catchUp(handle func(*tapped)) error {
	const patience = 200 // waits for a block's timer, each up to 5 times its length
	for range patience {
		if _, err := rs.drain(handle); err != nil {
			return err
		}
		behind := false
		for _, r := range rs.all {
			if err := r.count(); err != nil {
				return err
			}
			behind = behind || r.read+r.dropped < r.packets
		}
		if !behind {
			return nil
		}
		if err := rs.waitFor(5*retireMilliseconds*time.Millisecond, func() (bool, error) { return rs.drain(handle) }); err != nil {
			return err
		}
	}
	return nil // the report tells the difference
}

// close releases memory and descriptors, or leaves them for others. What was counted stays.
func (rs *rings) close() error {
	errs := []error{rs.bell.close()} // the spares are not in its epoll instance any more
	for _, r := range rs.all {
		errs = append(errs, rs.spares.put(r))
	}
	return errors.Join(errs...)
}
