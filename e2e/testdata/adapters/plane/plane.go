// Package plane gives a way to forward frames the command line and the API of vlandemux, so that `make e2e DEMUX=…` can test it.
package plane

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// Backend forwards frames. It is used by one goroutine at a time.
type Backend interface {
	// AttachTrunk and AttachWorker take what comes in at an interface.
	AttachTrunk(ifindex int) error
	AttachWorker(ifindex int) error
	// Assign gives the frames of a MAC to a worker, or to nobody if the worker is 0.
	Assign(mac demux.MAC, worker int) error
	// Client is what is known of a client, as far as it is.
	Client(mac demux.MAC, worker int) (demux.ClientCounters, error)
}

// plane keeps the assignments of a backend.
type plane struct {
	mu              sync.Mutex
	backend         Backend                  // guarded by mu
	settings        settings                 // never changes
	began           time.Time                // never changes; before anything is attached
	clients         map[demux.MAC]*client    // guarded by mu
	trunks, workers []demux.Attachment       // guarded by mu
	found           map[string]net.Interface // guarded by mu; by worker
}

type client struct {
	worker string
	seen   demux.Location
}

// attach takes a trunk, or a worker unless it is taken.
func (p *plane) attach(name string, list *[]demux.Attachment, how func(int) error) error {
	if slices.ContainsFunc(*list, func(a demux.Attachment) bool { return a.Name == name }) {
		return nil
	}
	link, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("attaching %s: %w", name, demux.ErrUnknownInterface)
	}
	if err := how(link.Index); err != nil {
		return fmt.Errorf("attaching %s: %w", name, err)
	}
	*list = append(*list, demux.Attachment{Name: name, Index: link.Index, Mode: demux.AttachMode(p.settings.attach), MTU: link.MTU})
	p.found[name] = *link
	return nil
}

// give assigns a MAC to a worker; callers hold mu.
func (p *plane) give(mac demux.MAC, worker string) error {
	if err := p.attach(worker, &p.workers, p.backend.AttachWorker); err != nil {
		return err
	}
	if err := p.backend.Assign(mac, p.found[worker].Index); err != nil {
		return err
	}
	c := p.clients[mac]
	if c == nil {
		c = &client{}
		p.clients[mac] = c
	}
	c.worker = worker
	return nil
}

func (p *plane) Assign(mac demux.MAC, worker string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[mac]
	if c != nil && c.worker != worker {
		return fmt.Errorf("%s: %w to %s", mac, demux.ErrAssigned, c.worker)
	}
	if c == nil && len(p.clients) == p.settings.capacity {
		return demux.ErrFull
	}
	return p.give(mac, worker)
}

func (p *plane) Reassign(mac demux.MAC, worker string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients[mac] == nil {
		return fmt.Errorf("%s: %w", mac, demux.ErrNotAssigned)
	}
	return p.give(mac, worker)
}

func (p *plane) Unassign(mac demux.MAC) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients[mac] == nil {
		return fmt.Errorf("%s: %w", mac, demux.ErrNotAssigned)
	}
	delete(p.clients, mac)
	return p.backend.Assign(mac, 0)
}

// all does one after another, and stops at the first that fails: only one by one is anything undone.
func all[T any](list []T, do func(T) error) error {
	for _, x := range list {
		if err := do(x); err != nil {
			return err
		}
	}
	return nil
}

func (p *plane) AssignAll(list []demux.Assignment) error {
	return all(list, func(a demux.Assignment) error { return p.Assign(a.MAC, a.Worker) })
}

func (p *plane) ReassignAll(list []demux.Assignment) error {
	return all(list, func(a demux.Assignment) error { return p.Reassign(a.MAC, a.Worker) })
}
func (p *plane) UnassignAll(macs []demux.MAC) error { return all(macs, p.Unassign) }

func (p *plane) AttachWorker(name string, _ bool) (demux.AttachMode, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return demux.AttachMode(p.settings.attach), p.attach(name, &p.workers, p.backend.AttachWorker)
}

func (p *plane) DetachTrunk(name string) error {
	return fmt.Errorf("detaching %s: %w", name, errNotSupported)
}
func (p *plane) DetachWorker(name string) error { return p.DetachTrunk(name) }

func (p *plane) Assignments() (list []demux.Assignment, err error) {
	counters, err := p.Counters()
	for _, c := range counters.Clients {
		list = append(list, demux.Assignment{MAC: c.MAC, Worker: c.Worker, Location: c.Location})
	}
	return list, err
}

func (p *plane) Find(macs []demux.MAC) (found []demux.Assignment, err error) {
	list, err := p.Assignments()
	for _, mac := range macs {
		if i := slices.IndexFunc(list, func(a demux.Assignment) bool { return a.MAC == mac }); i >= 0 {
			found = append(found, list[i])
		}
	}
	return found, err
}

func (p *plane) Assigned() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clients)
}

func (p *plane) Counters() (all demux.Counters, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for mac, c := range p.clients {
		counters, err := p.backend.Client(mac, p.found[c.worker].Index)
		if err != nil {
			return all, err
		}
		counters.MAC, counters.Worker = mac, c.worker
		all.Clients = append(all.Clients, counters)
	}
	slices.SortFunc(all.Clients, func(a, b demux.ClientCounters) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	return all, nil
}

// ReadEvents looks what has changed, since neither backend tells.
func (p *plane) ReadEvents(ctx context.Context, handle func(demux.Event) error) error {
	looked := p.began
	for tick := time.Tick(2 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
		begin := time.Now()
		counters, err := p.Counters()
		if err != nil {
			return err
		}
		end := time.Now()
		for _, now := range counters.Clients {
			if e := p.changed(now); e.Type != "" {
				e.Earliest, e.Time = looked, end
				if err := handle(e); err != nil {
					return err
				}
			}
		}
		looked = begin
	}
}

// ReadDrops has nothing to tell: neither backend does.
func (p *plane) ReadDrops(ctx context.Context, began func(), _ func(demux.Drop) error) error {
	began()
	<-ctx.Done()
	return nil
}

// changed is the event of a client that is elsewhere than it was, without a type if it is not.
func (p *plane) changed(now demux.ClientCounters) (e demux.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[now.MAC]
	if c == nil || c.seen == now.Location {
		return e
	}
	from := c.seen
	c.seen = now.Location
	switch {
	case now.Location.IsZero():
	case from.IsZero():
		e.Type = demux.EventLearned
	case from.Trunk != now.Location.Trunk || from.Protocol != now.Location.Protocol || from.VID() != now.Location.VID():
		e.Type = demux.EventMoved
	}
	e.MAC, e.From, e.To = now.MAC, from, now.Location
	return e
}

func (p *plane) Trunks() []demux.Attachment {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.trunks)
}

func (p *plane) Workers() []demux.Attachment {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.workers)
}

func (p *plane) Options() demux.Options {
	return demux.Options{Capacity: p.settings.capacity, Untagged: demux.UntaggedDrop, Unknown: demux.UnknownDrop}
}
func (*plane) Pinned() bool { return false }
