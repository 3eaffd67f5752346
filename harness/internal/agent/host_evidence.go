package agent

import (
	"context"
	"net/http"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// Evidence is what the host knows of itself and the lab, for people.
type Evidence struct {
	// Namespaces are the links, addresses, routes, qdiscs and filters of each.
	Namespaces string `json:"namespaces"`
	// BPF are the programs and maps of the demux, dumped.
	BPF string `json:"bpf"`
	// Attached are the programs at the interfaces of host and switch.
	Attached []string `json:"attached"`
	// Kernel is its log since the moment asked for, KernelError why there is none.
	Kernel      []LogLine `json:"kernel"`
	KernelError string    `json:"kernel_error,omitempty"`
}

func (h *host) evidenceRoutes(mux *http.ServeMux) {
	handleWired(mux, h, "/evidence", h.evidence)
	handleWired(mux, h, "/statistics", func(_ context.Context, network *wire.Network, _ Nothing) (s StatisticsPair, err error) {
		s.Before, s.Now, err = network.Statistics()
		return s, err
	})
}

// Evidence collects what the host knows; the kernel's log since a moment in nanoseconds since 1970. Host only.
func (c *Client) Evidence(ctx context.Context, since int64) (Evidence, error) {
	return call[int64, Evidence](ctx, c, "/evidence", since)
}

// StatisticsPair are the counters of each namespace when the lab was wired and now.
type StatisticsPair struct {
	Before wire.Statistics `json:"before"`
	Now    wire.Statistics `json:"now"`
}

// Statistics are the counters of each namespace, see [wire.Network.Statistics]. Host only.
func (c *Client) Statistics(ctx context.Context) (StatisticsPair, error) {
	return call[Nothing, StatisticsPair](ctx, c, "/statistics", Nothing{})
}

func (h *host) evidence(_ context.Context, network *wire.Network, since int64) (Evidence, error) {
	e := Evidence{Namespaces: network.Describe(), BPF: h.dumpBPF()}
	left, err := h.leftovers()
	for _, line := range left {
		if attached, is := strings.CutPrefix(line, attachedLine); is && err == nil {
			e.Attached = append(e.Attached, attached)
		}
	}
	if e.Kernel, err = kernelLog(since); err != nil {
		e.KernelError = err.Error()
	}
	return e, nil
}
