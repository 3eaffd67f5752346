package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"github.com/vlandemux/vlandemux/e2e/bench/result"
	"github.com/vlandemux/vlandemux/harness"
)

// labs measures labs from their start to the first frame delivered, and from Close
// to nothing left; the same from the harness's pool; and beside them bare containers.
func (o options) labs(ctx context.Context, h *harness.Harness, results *result.Run) error {
	if o.kernel != "" || !o.wants("lab-up") && !o.wants("lab-down") && !o.wants("lab-pool") && !o.wants("lab") {
		return nil
	}
	for _, clients := range []int{1, 3, 16, 64} {
		containers := 2*clients + 1
		if len(o.only) > 0 && !o.wantsLab(containers) || len(o.only) == 0 && clients == 64 {
			continue
		}
		var last string
		for range min(o.rounds, 1+40/containers) {
			if err := bare(ctx, h, containers, results); err != nil {
				return fmt.Errorf("bare containers: %w", err)
			}
			var err error
			if last, err = lab(ctx, h.Images(), clients, results); err != nil {
				return fmt.Errorf("lab of %d containers: %w", containers, err)
			}
		}
		fmt.Print(last)
	}
	return nil
}

func (o options) wantsLab(containers int) bool {
	for _, only := range o.only {
		group, number, found := strings.Cut(only, "/")
		if strings.HasPrefix(group, "lab") && (!found || number == fmt.Sprint(containers)) {
			return true
		}
	}
	return false
}

// stopwatch adds the time since it was set as a sample.
type stopwatch struct {
	results *result.Run
	variant string
	start   time.Time
}

func (s *stopwatch) set() { s.start = time.Now() }

func (s *stopwatch) stop(group string, containers int) {
	s.results.Add(result.Sample{
		Name: fmt.Sprintf("%s/%d", group, containers), Variant: s.variant, Unit: "s", Value: time.Since(s.start).Seconds(),
	})
}

// timeline says what waited for what: one phase after another, the steps of one below it.
func timeline(title string, l *harness.Lab) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, ms from the start:\n", title)
	phases := l.Phases()
	slices.SortStableFunc(phases, func(a, b harness.Phase) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.Took, a.Took))
	})
	for _, p := range phases {
		if p.Took < 100*time.Microsecond {
			continue
		}
		fmt.Fprintf(&text, "  %6.1f  +%6.1f  %s\n", 1000*p.Start.Seconds(), 1000*p.Took.Seconds(), p.Name)
	}
	return text.String()
}

// lab starts a lab whose containers nobody uses again, as [harness.Start] does, and one from the containers of another.
func lab(ctx context.Context, images harness.Images, clients int, results *result.Run) (timelines string, err error) {
	for _, once := range []bool{true, false} {
		h, err := harness.Connect(ctx, harness.Options{Images: images, Once: once, Log: os.Stderr})
		if err != nil {
			return "", err
		}
		group := "lab"
		if !once {
			group = "lab-pool"
			err = upAndDown(ctx, h, clients, func(*harness.Lab) {}, func(*harness.Lab) {})
		}
		if err == nil {
			watch := stopwatch{results: results, variant: "ours"}
			watch.set()
			err = upAndDown(ctx, h, clients, func(*harness.Lab) {
				watch.stop(group+"-up", 2*clients+1)
				watch.set()
			}, func(l *harness.Lab) {
				watch.stop(group+"-down", 2*clients+1)
				timelines += timeline(fmt.Sprintf("%s/%d", group, 2*clients+1), l)
			})
		}
		if err := errors.Join(err, h.Close()); err != nil {
			return "", err
		}
	}
	return timelines, nil
}

// upAndDown takes a lab up, until a first frame has come through, and down.
func upAndDown(ctx context.Context, h *harness.Harness, clients int, up, down func(*harness.Lab)) error {
	l, err := h.Start(ctx, topology(clients), 0)
	if err != nil {
		return err
	}
	if err := firstFrame(ctx, l); err != nil {
		return errors.Join(err, l.Close())
	}
	up(l)
	if err := l.Close(); err != nil {
		return err
	}
	down(l)
	return nil
}

// firstFrame returns once a worker has answered its client.
func firstFrame(ctx context.Context, l *harness.Lab) error {
	worker := netip.AddrPortFrom(workerAddress().Addr(), 5000)
	server, err := l.Worker("w0").ServeUDP(ctx, harness.UDPServeRequest{Listen: worker})
	if err != nil {
		return fmt.Errorf("having the worker answer: %w", err)
	}
	report, err := l.Client("c0").UDP(ctx, harness.UDPRequest{Remote: worker, Count: 1, Size: 64})
	if err = errors.Join(err, server.Close()); err != nil {
		return fmt.Errorf("sending the first frame: %w", err)
	}
	if report.Received != 1 {
		return errors.New("the worker did not answer its client")
	}
	return nil
}

func clientAddress() netip.Prefix { return netip.MustParsePrefix("192.168.1.1/24") }
func workerAddress() netip.Prefix { return netip.MustParsePrefix("192.168.1.2/24") }

// topology has as many workers as clients.
func topology(clients int) harness.Topology {
	var t harness.Topology
	for i := range clients {
		worker := fmt.Sprintf("w%d", i)
		t.Clients = append(t.Clients, harness.Client{
			Name: fmt.Sprintf("c%d", i), MAC: harness.MAC{2, 0, 0, 0, 0, byte(i)}, Place: harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: uint16(2 + i)}},
			Worker: worker, Addresses: []netip.Prefix{clientAddress()},
		})
		t.Workers = append(t.Workers, harness.Worker{Name: worker, MAC: harness.MAC{2, 0, 0, 0, 1, byte(i)}, Addresses: []netip.Prefix{workerAddress()}})
	}
	return t
}

// bare makes and removes containers side by side, and nothing else.
func bare(ctx context.Context, h *harness.Harness, containers int, results *result.Run) (err error) {
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.Close()) }()
	if _, err := api.Ping(ctx); err != nil {
		return err
	}
	ids := make([]string, containers)
	defer func() {
		for _, id := range ids {
			if id != "" && err != nil {
				err = errors.Join(err, api.ContainerRemove(context.WithoutCancel(ctx), id, container.RemoveOptions{Force: true}))
			}
		}
	}()
	watch := stopwatch{results: results, variant: "bare"}
	watch.set()
	var group errgroup.Group
	for i := range ids {
		group.Go(func() error {
			created, err := api.ContainerCreate(ctx,
				&container.Config{Image: h.Images().Client, OpenStdin: true, NetworkDisabled: true},
				&container.HostConfig{NetworkMode: "none", LogConfig: container.LogConfig{Type: "none"}}, nil, nil, "")
			if err != nil {
				return err
			}
			ids[i] = created.ID
			return api.ContainerStart(ctx, created.ID, container.StartOptions{})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	watch.stop("lab-up", containers)
	watch.set()
	for _, id := range ids {
		group.Go(func() error { return api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	watch.stop("lab-down", containers)
	return nil
}
