package agent

import (
	"context"
	"errors"
	"net/http"

	"github.com/vlandemux/vlandemux/harness/internal/drops"
)

// dropListener is the listener of one host's agent, or why there is none: a lab runs without it.
type dropListener struct {
	listener    *drops.Listener // nil where unavailable says why
	unavailable error
}

func listenToDrops() (d dropListener) {
	d.listener, d.unavailable = drops.Open()
	return d
}

func (h *host) dropRoutes(mux *http.ServeMux) {
	handle(mux, "/drops", func(context.Context, Nothing) (drops.Report, error) { return h.readDrops() })
}

// Drops are the packets that the kernel has dropped in the lab's namespaces since StartTaps. Host only.
func (c *Client) Drops(ctx context.Context) (drops.Report, error) {
	return call[Nothing, drops.Report](ctx, c, "/drops", Nothing{})
}

// watchDrops listens in the lab's namespaces, those of a severed and replaced worker included; without a lab, nowhere.
func (h *host) watchDrops() error {
	if h.drops.listener == nil {
		return nil
	}
	network, err := h.wired()
	if err != nil {
		return errors.Join(h.drops.listener.Watch(nil), h.drops.listener.Reset())
	}
	nodes, err := network.Inodes()
	if err != nil {
		return err
	}
	return h.drops.listener.Watch(nodes)
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
	if d.listener == nil {
		return drops.Report{Unavailable: d.unavailable.Error()}, nil
	}
	return d.listener.Read()
}

func (d *dropListener) reset() error {
	if d.listener == nil {
		return nil
	}
	return d.listener.Reset()
}

func (d *dropListener) close() error {
	if d.listener == nil {
		return nil
	}
	return d.listener.Close()
}
