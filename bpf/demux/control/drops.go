package control

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// dropReader reads drops from the dataplane while somebody watches them: the dataplane tells of none else.
type dropReader struct {
	hub   *hub[Drop]
	plane Dataplane
	names Names

	mu       sync.Mutex
	watchers int    // guarded by mu
	stop     func() // guarded by mu; ends the reading, nil while there is none
}

// join returns once drops are told. It starts the reading for the first watcher, and the last to leave ends it.
func (d *dropReader) join() (leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watchers == 0 {
		if d.stop, err = d.start(); err != nil {
			return nil, fmt.Errorf("watching drops: %w", err)
		}
	}
	d.watchers++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.watchers--; d.watchers == 0 {
			d.stop()
		}
	}, nil
}

func (d *dropReader) start() (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	began, failed, ended := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		err := d.plane.ReadDrops(ctx, func() { close(began) }, func(from demux.Drop) error {
			d.hub.publish(drop(d.names, from))
			return nil
		})
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("the dataplane ended them")
			}
			d.hub.end(fmt.Errorf("reading drops from the dataplane: %w", err))
		}
		failed <- err
	}()
	select {
	case <-began:
		return func() { cancel(); <-ended }, nil
	case err := <-failed:
		cancel()
		return nil, err
	}
}

func drop(names Names, from demux.Drop) Drop {
	return Drop{
		Type: "dropped", Time: from.Time, Reason: from.Reason.String(), MAC: from.MAC, Interface: names.Name(from.Interface),
		Place: location(names, from.Place), Packets: from.Packets,
	}
}
