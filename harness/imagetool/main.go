// Command imagetool looks after the lab's images:
//
//	go run ./harness/imagetool build DIR [ARCH]   compiles their programs into DIR, for VLANDEMUX_IMAGES=DIR
//	go run ./harness/imagetool ensure             loads them into the Docker engine, or those that ENGINES names, and prints their IDs
//	go run ./harness/imagetool pack NAME FILE…    makes the image vlandemux/NAME of programs of this machine, and prints its ID
//	go run ./harness/imagetool prune              removes from the engine those of them that no container uses
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "imagetool:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "build":
		return images.Build(ctx, args[1], runtime.GOARCH)
	case len(args) == 3 && args[0] == "build":
		return images.Build(ctx, args[1], args[2])
	case len(args) == 1 && args[0] == "ensure":
		return ensureAll(ctx)
	case len(args) > 2 && args[0] == "pack":
		return withEngines(ctx, func(ctx context.Context, e *engine.Engine) error {
			id, err := images.Pack(ctx, e, args[1], args[2:]...)
			if err == nil {
				fmt.Println(id)
			}
			return err
		})
	case len(args) == 1 && args[0] == "prune":
		return withEngines(ctx, prune)
	default:
		return errors.New("usage: imagetool build DIR [ARCH] | ensure | pack NAME FILE… | prune")
	}
}

func withEngines(ctx context.Context, do func(context.Context, *engine.Engine) error) error {
	addresses, err := harness.EnginesFromEnvironment(ctx)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		e, connectErr := engine.Connect(ctx, address)
		if connectErr != nil {
			err = errors.Join(err, connectErr)
			continue
		}
		err = errors.Join(err, do(ctx, e), e.Close())
	}
	return err
}

// ensureAll loads nothing unless the suite can run on all of the engines.
func ensureAll(ctx context.Context) error {
	addresses, err := harness.EnginesFromEnvironment(ctx)
	if err == nil {
		_, err = harness.AskEngines(ctx, addresses)
	}
	if err != nil {
		return err
	}
	return withEngines(ctx, ensure)
}

func ensure(ctx context.Context, e *engine.Engine) error {
	set, err := images.Ensure(ctx, e, func(text string) { fmt.Fprintln(os.Stderr, text) })
	if err == nil {
		fmt.Printf("%s\nhost   %s\nclient %s\nworker %s\ndhcp   %s\n", e.Host(), set.Host, set.Client, set.Worker, set.DHCP)
	}
	return err
}

func prune(ctx context.Context, e *engine.Engine) error {
	removed, err := images.Prune(ctx, e)
	for _, name := range removed {
		fmt.Println("removed", name)
	}
	return errors.Join(err, e.Sweep(ctx))
}
