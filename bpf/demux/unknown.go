package demux

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// SetDefaultWorker makes the worker of that name, which has to be attached or expected, the one that
// frames of MACs without a worker are given to where Options.Unknown says so: without their outer tag,
// as any worker's. Nothing is learned from them, so what it sends back is dropped as not_assigned. ""
// is for no such worker.
func (d *Demux) SetDefaultWorker(name string) error {
	return d.change(func() error {
		before, now := d.defaultWorker(), d.devices[name]
		if name != "" && (now == nil || now.role != bpfAttachRoleROLE_WORKER) {
			return fmt.Errorf("giving unknown MACs to %s: %w: it is no worker here", name, ErrUnknownInterface)
		}
		if before == now {
			return nil
		}
		var errs []error
		if before != nil {
			before.isDefault = false
			atomic.StoreUint32(&d.policies[0].DefaultWorker, 0)
			errs = append(errs, d.wait(), d.save(before), d.forgetIdle(map[*device]bool{before: true}))
		}
		if now != nil {
			now.isDefault = true
			errs = append(errs, d.save(now))
			d.point(now)
		}
		return errors.Join(errs...)
	})
}

// defaultWorker is nil if there is none.
func (d *Demux) defaultWorker() *device {
	for _, a := range d.devices {
		if a.isDefault {
			return a
		}
	}
	return nil
}
