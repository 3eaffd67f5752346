package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vlandemux/vlandemux/harness/internal/agent"
	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/wire"
)

// pool keeps the containers of closed labs for later ones: starting one takes
// 0.2 s on a fast machine and 5 s in an emulated one. A container is only kept if
// its interfaces, sockets, pins and programs are those it had when it was new.
// Everything is safe for concurrent use.
type pool struct {
	engine *engine.Engine
	run    string // in each container's name and label
	once   bool   // no container is kept
	// starting has room for as many containers as the engine's processors are busy with while those start: side by side, all would be there at
	// the end alone, and whatever needs some of them would begin as late as what needs all.
	starting chan struct{}

	mu      sync.Mutex
	idle    map[containerKind][]*container // guarded by mu
	started int                            // guarded by mu
	missing map[SwitchKind]string          // guarded by mu; why the engine's kernel cannot run a kind, of those that were tried
}

// containerKind is what an unused container can be used for.
type containerKind struct {
	kind  engine.Kind
	image string
	tun   bool // a host's that makes TAP devices
}

// container is a running container with an agent in it.
type container struct {
	*engine.Container
	agent    *agent.Client
	of       containerKind
	features wire.Features // of its kernel; a host's alone
	logged   int64         // octets that were in its log when the lab began
	initial  []string      // what was there when it was new; nil: it is not to be used again
}

// RunLabel is the label of each container of a run; its value names the run.
const RunLabel = "vlandemux.run"

// missingSwitch tries each kind once, in a host of the engine.
func (p *pool) missingSwitch(ctx context.Context, host *agent.Client, kind SwitchKind) (string, error) {
	p.mu.Lock()
	reason, tried := p.missing[kind]
	p.mu.Unlock()
	if tried {
		return reason, nil
	}
	reason, err := host.MissingSwitch(ctx, string(kind))
	if err != nil {
		return "", fmt.Errorf("asking whether the kernel can run the switch %s: %w", kind, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing[kind] = reason
	return reason, nil
}

// turn waits until one more container can start. To be called before take, which ends the turn.
func (p *pool) turn(ctx context.Context) error {
	select {
	case p.starting <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take returns an idle container, or starts one.
func (p *pool) take(ctx context.Context, m containerKind) (*container, error) {
	over := sync.OnceFunc(func() { <-p.starting })
	defer over()
	p.mu.Lock()
	if idle := p.idle[m]; len(idle) > 0 {
		c := idle[len(idle)-1]
		p.idle[m] = idle[:len(idle)-1]
		p.mu.Unlock()
		return c, nil
	}
	p.started++
	name := fmt.Sprintf("vlandemux-%s-%d-%s", p.run, p.started, m.kind)
	p.mu.Unlock()

	started, err := p.engine.Start(ctx, engine.Spec{
		Name: name, Image: m.image, Kind: m.kind, TUN: m.tun, Labels: map[string]string{RunLabel: p.run},
	})
	over()
	if err != nil {
		return nil, err
	}
	c := &container{Container: started, agent: agent.Dial(started.Stream), of: m}
	if err := c.examine(ctx, p.once); err != nil {
		return nil, errors.Join(err, c.log(), c.Close(ctx))
	}
	return c, nil
}

// examine is for a new container.
func (c *container) examine(ctx context.Context, once bool) (err error) {
	switch {
	case c.of.kind == engine.KindHost:
		if c.features, err = c.agent.Features(ctx); err != nil {
			return fmt.Errorf("asking what the kernel can do: %w", err)
		}
	case once:
		return nil
	}
	c.initial, err = c.inventory(ctx)
	return err
}

// inventory is everything a lab may leave in a container.
func (c *container) inventory(ctx context.Context) ([]string, error) {
	lines, err := c.agent.Footprint(ctx)
	if err != nil || c.of.kind != engine.KindHost {
		return lines, err
	}
	left, err := c.agent.Leftovers(ctx)
	return append(lines, left...), err
}

// give takes a lab's containers back, the host's first among them. Those that
// are as they were when new wait for the next lab, the others are ended. What a lab has left
// in its host, or an interface it has left anywhere, is an error; a socket that
// the kernel has yet to forget, such as one in TIME_WAIT, only costs the container.
func (p *pool) give(ctx context.Context, containers []*container, steps func([]wire.Step)) error {
	var errs []error
	reset := make(chan struct{})
	go func() {
		defer close(reset)
		for _, c := range containers {
			if c.of.kind == engine.KindHost {
				took, err := c.agent.Reset(ctx)
				steps(took)
				errs = append(errs, err)
			}
		}
	}()
	err := each(containers, func(_ int, c *container) error {
		if c.initial == nil {
			return c.Close(ctx) // nobody is to use it again
		}
		<-reset
		return p.giveOne(ctx, c)
	})
	<-reset
	return errors.Join(errors.Join(errs...), err)
}

func (p *pool) giveOne(ctx context.Context, c *container) error {
	now, err := c.inventory(ctx)
	if err != nil {
		return errors.Join(err, c.log(), c.Close(ctx))
	}
	if slices.Equal(now, c.initial) && !p.once {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.idle[c.of] = append(p.idle[c.of], c)
		return nil
	}
	var left []string
	for _, line := range now {
		if !slices.Contains(c.initial, line) && (c.of.kind == engine.KindHost || strings.HasPrefix(line, "interface ")) {
			left = append(left, line)
		}
	}
	if len(left) > 0 {
		err = fmt.Errorf("the lab left in container %s: %s", c.Name, strings.Join(left, ", "))
	}
	return errors.Join(err, c.Close(ctx))
}

// end ends containers that are not to be used again.
func end(ctx context.Context, containers []*container) error {
	return each(containers, func(_ int, c *container) error { return c.Close(ctx) })
}

// each does something with all side by side, and goes on past failures.
func each[T any](all []T, do func(int, T) error) error {
	errs := make([]error, len(all))
	var doing sync.WaitGroup
	for i, one := range all {
		doing.Go(func() { errs[i] = do(i, one) })
	}
	doing.Wait()
	return errors.Join(errs...)
}

func (p *pool) close(ctx context.Context) error {
	p.mu.Lock()
	var all []*container
	for _, idle := range p.idle {
		all = append(all, idle...)
	}
	clear(p.idle)
	p.mu.Unlock()
	return end(ctx, all)
}

// log is an error that quotes what the container's agent has logged, nil if nothing.
func (c *container) log() error {
	if log := strings.TrimSpace(c.Log()); log != "" {
		return fmt.Errorf("the agent of %s logged:\n%s", c.Name, log)
	}
	return nil
}
