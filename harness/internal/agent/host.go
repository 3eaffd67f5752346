package agent

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/threads"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// host is what the agent of the host container holds on to between calls.
type host struct {
	program string // the path of vlandemux

	mu      sync.Mutex
	network *wire.Network    // guarded by mu; nil until Wire
	space   wire.SwitchSpace // guarded by mu

	demux demuxChild
	taps  tapSet
	drops dropListener
}

// newHost prepares the container: demux and harness need a BPF file system of their own.
func newHost(config Config) (*host, error) {
	if err := mountBPFFS(bpffsPath); err != nil {
		return nil, err
	}
	return &host{program: config.Demux, demux: demuxChild{start: DemuxStart}}, nil
}

// routes adds what only the host answers.
func (h *host) routes(mux *http.ServeMux) {
	h.wireRoutes(mux)
	h.demuxRoutes(mux)
	h.tapRoutes(mux)
	h.dropRoutes(mux)
	h.evidenceRoutes(mux)
	h.systemRoutes(mux)
	h.leftoverRoutes(mux)
	handle(mux, "/host/send", h.sendAt)
	handle(mux, "/host/fault", h.fault)
	handle(mux, "/host/reset", h.reset)
}

// close stops and removes everything the host's agent has made, the newest first, and goes on past failures.
func (h *host) close() error {
	if err := errors.Join(h.taps.close(), h.taps.spares.Close(), h.demux.kill(), h.drops.close(), h.unwire(), h.space.Close()); err != nil {
		return fmt.Errorf("cleaning up the host: %w", err)
	}
	return nil
}

// unwire takes the lab's links away, if it is wired.
func (h *host) unwire() error {
	h.mu.Lock()
	network := h.network
	h.network = nil
	h.mu.Unlock()
	if network == nil {
		return nil
	}
	return network.Close()
}

// wired gives the network, or says that there is none yet.
func (h *host) wired() (*wire.Network, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.network == nil {
		return nil, errors.New("the lab is not wired yet: call Wire first")
	}
	return h.network, nil
}

// within calls do on a thread that is in the network namespace of a point of the lab.
func (h *host) within(point probe.TapPoint, do func() error) error {
	if point.Namespace == "" {
		return do()
	}
	network, err := h.wired()
	if err == nil {
		var ns *os.File
		if ns, err = network.Namespace(point.Namespace); err == nil {
			return threads.Do(int(ns.Fd()), do)
		}
	}
	return fmt.Errorf("entering the network namespace of %s: %w", point.Name, err)
}
