package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

func (h *host) wireRoutes(mux *http.ServeMux) {
	handle(mux, "/wire/features", func(context.Context, Nothing) (wire.Features, error) { return wire.FindFeatures() })
	handle(mux, "/wire/try", wire.MissingSwitch)
	handle(mux, "/wire/apply", h.apply)
	handleWired(mux, h, "/wire/join", func(ctx context.Context, network *wire.Network, pids map[string]int) ([]wire.Step, error) {
		return network.Join(ctx, pids)
	})
	handleWired(mux, h, "/wire/move", func(ctx context.Context, network *wire.Network, move wire.Move) (wire.MoveWindow, error) {
		return network.Move(ctx, move)
	})
	handleWired(mux, h, "/wire/trunk", func(ctx context.Context, network *wire.Network, s trunkState) (Nothing, error) {
		return Nothing{}, network.SetTrunk(ctx, s.Trunk, s.Up)
	})
	handleWired(mux, h, "/wire/sever", func(_ context.Context, network *wire.Network, worker string) (Nothing, error) {
		return Nothing{}, network.Sever(worker)
	})
	handleWired(mux, h, "/wire/replace", func(ctx context.Context, network *wire.Network, r replaceRequest) (Nothing, error) {
		return Nothing{}, network.Replace(ctx, r.Worker, r.PID)
	})
	handleWired(mux, h, "/wire/points", func(_ context.Context, network *wire.Network, _ Nothing) ([]probe.TapPoint, error) {
		return network.TapPoints(), nil
	})
	handleWired(mux, h, "/wire/checksums", func(_ context.Context, network *wire.Network, _ Nothing) (map[string]uint64, error) {
		return network.ChecksumErrors()
	})
}

// handleWired is handle for what needs a lab that is wired.
func handleWired[Request, Reply any](mux *http.ServeMux, h *host, path string, fn func(context.Context, *wire.Network, Request) (Reply, error)) {
	handle(mux, path, func(ctx context.Context, request Request) (reply Reply, err error) {
		network, err := h.wired()
		if err != nil {
			return reply, err
		}
		return fn(ctx, network, request)
	})
}

// MissingSwitch asks why the host's kernel cannot run a kind of switch, "" if it can. Host only.
func (c *Client) MissingSwitch(ctx context.Context, kind string) (string, error) {
	return call[string, string](ctx, c, "/wire/try", kind)
}

// Features asks what else the host's kernel offers. Host only.
func (c *Client) Features(ctx context.Context) (wire.Features, error) {
	return call[Nothing, wire.Features](ctx, c, "/wire/features", Nothing{})
}

// Wired is what became of a plan.
type Wired struct {
	// Steps it took.
	Steps []wire.Step `json:"steps"`
	// Switch is the path of its network namespace in the host's PID namespace.
	Switch string `json:"switch"`
}

// Wire lays the lab's links, those of the nodes with a process ID, once for each agent process. On an error nothing is left of them.
func (c *Client) Wire(ctx context.Context, plan wire.Plan) (Wired, error) {
	return call[wire.Plan, Wired](ctx, c, "/wire/apply", plan)
}

// Join lays the links of clients and workers that were not there yet, by their process IDs.
func (c *Client) Join(ctx context.Context, pids map[string]int) ([]wire.Step, error) {
	return call[map[string]int, []wire.Step](ctx, c, "/wire/join", pids)
}

// Move plugs a client in elsewhere; its own interface does not notice. The window tells when it happened.
func (c *Client) Move(ctx context.Context, move wire.Move) (wire.MoveWindow, error) {
	return call[wire.Move, wire.MoveWindow](ctx, c, "/wire/move", move)
}

// trunkState is the body of /wire/trunk.
type trunkState struct {
	Trunk int  `json:"trunk"`
	Up    bool `json:"up"`
}

// SetTrunk takes the switch's end of a trunk down, or brings it up.
func (c *Client) SetTrunk(ctx context.Context, trunk int, up bool) error {
	_, err := call[trunkState, Nothing](ctx, c, "/wire/trunk", trunkState{trunk, up})
	return err
}

// Sever takes the link of a worker away whose container has ended.
func (c *Client) Sever(ctx context.Context, worker string) error {
	_, err := call[string, Nothing](ctx, c, "/wire/sever", worker)
	return err
}

// replaceRequest is the body of /wire/replace.
type replaceRequest struct {
	Worker string `json:"worker"`
	PID    int    `json:"pid"`
}

// Replace links another process's network namespace in the place of a severed worker's.
func (c *Client) Replace(ctx context.Context, worker string, pid int) error {
	_, err := call[replaceRequest, Nothing](ctx, c, "/wire/replace", replaceRequest{worker, pid})
	return err
}

// TapPoints lists every interface of the lab, ready for StartTaps and SendAt.
func (c *Client) TapPoints(ctx context.Context) ([]probe.TapPoint, error) {
	return call[Nothing, []probe.TapPoint](ctx, c, "/wire/points", Nothing{})
}

// ChecksumErrors counts what the stacks of the lab have dropped for wrong checksums, see [wire.Network.ChecksumErrors].
func (c *Client) ChecksumErrors(ctx context.Context) (map[string]uint64, error) {
	return call[Nothing, map[string]uint64](ctx, c, "/wire/checksums", Nothing{})
}

func (h *host) apply(ctx context.Context, plan wire.Plan) (Wired, error) {
	network, err := h.lay(ctx, plan)
	if err != nil {
		return Wired{}, err
	}
	namespace, err := network.Namespace(wire.SwitchNode)
	if err != nil {
		return Wired{}, err
	}
	return Wired{Steps: network.Steps, Switch: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), namespace.Fd())}, nil
}

func (h *host) lay(ctx context.Context, plan wire.Plan) (*wire.Network, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.network != nil {
		return nil, errors.New("wiring the lab: it is wired already; each lab has a host container of its own")
	}
	plan.Space = &h.space
	network, err := wire.Apply(ctx, plan)
	h.network = network
	return network, err
}
