package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/vlandemux/vlandemux/harness/internal/drops"
)

// dropListener is the listener of one host's agent, opened with the first taps: that costs more processor time than all of the wiring. It
// stays for the labs after the first.
type dropListener struct {
	mu          sync.Mutex
	listener    *drops.Listener // guarded by mu; nil before the first taps, and where unavailable says why
	unavailable error           // guarded by mu; a lab runs without a listener
	held        Leftovers       // guarded by mu; what the listener holds of the kernel, which no lab has left
}

func (h *host) dropRoutes(mux *http.ServeMux) {
	handle(mux, "/drops", func(context.Context, Nothing) (drops.Report, error) { return h.readDrops() })
}

// Drops are the packets that the kernel has dropped in the lab's namespaces since StartTaps. Host only.
func (c *Client) Drops(ctx context.Context) (drops.Report, error) {
	return call[Nothing, drops.Report](ctx, c, "/drops", Nothing{})
}

// listenToDrops begins anew, in the lab's namespaces as they are now; without a lab, nowhere.
func (h *host) listenToDrops() error {
	var nodes map[uint32]string
	if network, err := h.wired(); err == nil {
		if nodes, err = network.Inodes(); err != nil {
			return err
		}
	}
	return h.drops.listen(nodes)
}

func (d *dropListener) listen(nodes map[uint32]string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener == nil && d.unavailable == nil {
		if err := d.openLocked(); err != nil {
			return err
		}
	}
	if d.listener == nil {
		return nil
	}
	return errors.Join(d.listener.Watch(nodes), d.listener.Reset())
}

func (d *dropListener) openLocked() error {
	var before, after Leftovers
	err := before.addDescriptors(os.Getpid())
	d.listener, d.unavailable = drops.Open()
	if err = errors.Join(err, after.addDescriptors(os.Getpid())); err != nil {
		return fmt.Errorf("listing what the listener to the kernel's drops holds: %w", err)
	}
	after.remove(before)
	d.held = after
	return nil
}

// readDrops gives a worker in the host's namespace what was dropped at its interface.
func (h *host) readDrops() (drops.Report, error) {
	report, err := h.drops.read()
	network, unwired := h.wired()
	if err != nil || unwired != nil {
		return report, err
	}
	for i := range report.Drops {
		k := &report.Drops[i].Kind
		k.Node = network.NodeOf(k.Node, k.Interface)
	}
	for i := range report.Totals {
		k := &report.Totals[i].Kind
		k.Node = network.NodeOf(k.Node, k.Interface)
	}
	return report, nil
}

func (d *dropListener) read() (drops.Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unavailable != nil {
		return drops.Report{Unavailable: d.unavailable.Error()}, nil
	}
	if d.listener == nil {
		return drops.Report{Unavailable: "no tap was started yet"}, nil
	}
	return d.listener.Read()
}

// forget hears nothing more of the lab.
func (d *dropListener) forget() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener == nil {
		return nil
	}
	return errors.Join(d.listener.Watch(nil), d.listener.Reset())
}

// disregard takes what the listener holds out of the leftovers.
func (d *dropListener) disregard(left *Leftovers) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left.remove(d.held)
}

func (d *dropListener) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener == nil {
		return nil
	}
	return d.listener.Close()
}
