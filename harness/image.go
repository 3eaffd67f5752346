package harness

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/mount"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/topology"
)

// imagesOf are those of a topology's nodes.
func imagesOf(t Topology) map[string]*topology.Image {
	all := map[string]*topology.Image{}
	for _, c := range t.Clients {
		all[c.Name] = c.Image
	}
	for _, w := range t.Workers {
		all[w.Name] = w.Image
	}
	return all
}

// StartImages starts the programs of the nodes' images, unless they are started: [Lab.OpenWindow] and [Lab.Exec] do so too.
func (l *Lab) StartImages(ctx context.Context) error {
	l.imagesMu.Lock()
	defer l.imagesMu.Unlock()
	if l.imagesStarted {
		return nil
	}
	l.imagesStarted = true
	group, ctx := errgroup.WithContext(ctx)
	for name, image := range imagesOf(l.Topology) {
		if image == nil {
			continue
		}
		group.Go(func() (err error) {
			n := l.node(name)
			spec := engine.Spec{
				Name: n.Container + "-image", Image: image.Name, Kind: engine.KindImage, Within: n.container.Container,
				NetAdmin: image.NetAdmin, Args: image.Command, Env: image.Environment, Labels: map[string]string{RunLabel: l.pool.run},
			}
			for _, m := range image.Mounts {
				spec.Mounts = append(spec.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: !m.Writable})
			}
			if n.image, err = l.pool.engine.Start(ctx, spec); err != nil {
				return fmt.Errorf("starting the image of %s: %w", name, err)
			}
			if image.NetAdmin {
				n.container.initial = nil // whatever it leaves in the namespace, nobody else is to find it
			}
			return nil
		})
	}
	return group.Wait()
}

// endImages ends the programs of images. One that had ended by itself, and badly, is an error.
func endImages(ctx context.Context, nodes []*Node) error {
	return each(nodes, func(_ int, n *Node) error {
		if n.image == nil {
			return nil
		}
		told := n.image.Ended() // an engine that is busy tells it late
		removed := n.image.Remove(ctx)
		if removed != nil && !told {
			return removed
		}
		status, err := n.image.Wait(ctx)
		if err != nil || status != 0 && (told || status != killed) {
			err = errors.Join(err, fmt.Errorf("the image of %s ended with status %d; it wrote:\n%s", n.Name, status, n.image.Log()))
		}
		return errors.Join(err, removed)
	})
}

// killed is the status of a program that Remove has ended.
const killed = 128 + 9

// Exec runs a program in a client, a worker or the host ("host"), beside what runs there, and returns
// what it wrote on stdout and stderr and its exit status. In a node with an image the
// program is one of the image's; it is started if it was not. What it sends is
// checked if the image's own traffic is allowed to be there, see [Window.AllowSockets].
func (l *Lab) Exec(ctx context.Context, node string, argv ...string) (output string, status int, err error) {
	n, err := l.anyNode(node)
	if err != nil {
		return "", 0, fmt.Errorf("running %q: %w", argv, err)
	}
	if err := l.StartImages(ctx); err != nil {
		return "", 0, err
	}
	if n.image != nil {
		return n.image.Exec(ctx, argv...)
	}
	return n.container.Exec(ctx, argv...)
}

// Logs are what a node's image has written on stdout and stderr, or a node without one on stderr.
func (l *Lab) Logs(node string) (string, error) {
	n, err := l.anyNode(node)
	switch {
	case err != nil:
		return "", err
	case n.image != nil:
		return n.image.Log(), nil
	default:
		return n.container.Log(), nil
	}
}

// anyNode is the client or worker of that name, or the host.
func (l *Lab) anyNode(name string) (*Node, error) {
	for _, n := range l.Nodes() {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the lab has no node called %q", name)
}
