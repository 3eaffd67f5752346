package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"os/user"
	"strconv"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/bpf/demux/control/metrics"
)

// run attaches what the settings say, serves until ctx ends and leaves the pinned dataplane running.
func run(ctx context.Context, settings config, reread func() (config, error), log *slog.Logger) (err error) {
	// From the first moment on: a reload that comes while it starts must not end it.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	names, err := control.NewNames()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, names.Close()) }()
	kernel, err := preflight(settings)
	if err != nil {
		return err
	}
	// Bound before anything is attached: a second vlandemux must find out before it does harm. Who
	// connects now waits until the server below accepts.
	listener, err := control.Listen(ctx, settings.socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	metrics, err := listenMetrics(ctx, settings.metrics)
	if err != nil {
		return err
	}
	if metrics != nil {
		defer metrics.Close()
	}
	if err := lend(settings.socket, settings.socketGroup); err != nil {
		return err
	}

	pins, err := holdPins(settings.bpffs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pins.release()) }()
	plane, err := demux.Load(demux.Options{
		Capacity:   settings.capacity,
		Untagged:   demux.UntaggedPolicy(settings.untagged),
		Unknown:    settings.unknown,
		GroupLimit: settings.groupLimit,
		Age:        settings.age,
		Redirect:   demux.RedirectMode(settings.redirect),
		EarlyDrop:  demux.EarlyDropMode(settings.earlyDrop),
		Attach:     demux.AttachMode(settings.attach),
		PinPath:    settings.bpffs,
	})
	if err != nil {
		return fmt.Errorf("loading the dataplane: %w", err)
	}
	if err := start(ctx, plane, settings, log); err != nil {
		end := plane.Close
		if !plane.TookOver() {
			end = plane.Detach // nothing of ours was there before, so nothing stays
		}
		return fmt.Errorf("starting: %w", errors.Join(err, end()))
	}
	reloading, stopReloading := context.WithCancel(ctx)
	reloaded := make(chan struct{})
	reloader := reloader{plane: plane, log: log, settings: settings, reread: reread}
	go func() {
		defer close(reloaded)
		reloader.serve(reloading, hangups)
	}()
	serveErr := serve(ctx, plane, names, listeners{listener, metrics}, settings, kernel, log)
	notify(log, daemon.SdNotifyStopping)
	stopReloading()
	<-reloaded
	return errors.Join(serveErr, leave(plane, settings, log))
}

// listeners are where it is asked; that for metrics may be nil.
type listeners struct{ control, metrics net.Listener }

// serve answers on the listeners and follows the interfaces until ctx ends.
func serve(ctx context.Context, plane dataplane, names control.Names, on listeners, settings config, kernel string, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	follower := follower{log: log}
	options := control.ServerOptions{
		Dataplane: plane,
		Names:     names,
		Version:   version(),
		Kernel:    kernel,
		BPFFS:     settings.bpffs,
		Following: follower.following,
		Log:       log,
	}
	options.Metrics = metrics.Handler(options)
	server := control.NewServer(options)
	follower.warn = server.WarnOfObstacles
	following, started := make(chan error, 1), make(chan struct{})
	go func() {
		following <- follower.follow(ctx, plane, func() { close(started) })
		cancel() // without it the demux would not notice a worker that goes
	}()
	select {
	case <-started:
	case err := <-following:
		return err
	}
	forgetting := make(chan error, 1)
	go func() {
		forgetting <- plane.ForgetUnused(ctx)
		cancel()
	}()
	stopMetrics := serveMetrics(on.metrics, options.Metrics)
	log.Info("ready", "pid", os.Getpid(), "trunks", described(plane.Trunks()), "workers", len(plane.Workers()),
		"socket", settings.socket, "pinned", settings.bpffs)
	notify(log, fmt.Sprintf("%s\nSTATUS=%d trunks, %d workers, socket %s", daemon.SdNotifyReady, len(plane.Trunks()), len(plane.Workers()), settings.socket))
	err := server.Serve(ctx, on.control)
	cancel()
	return errors.Join(err, stopMetrics(), <-following, <-forgetting)
}

// lend lets a group use the socket at path, besides root.
func lend(path, group string) error {
	if group == "" {
		return nil
	}
	number := group // as with chown, a number needs no entry in /etc/group
	if _, err := strconv.Atoi(group); err != nil {
		found, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("giving the control socket to its group: %w", err)
		}
		number = found.Gid
	}
	gid, err := strconv.ParseUint(number, 10, 32)
	if err == nil {
		err = os.Chown(path, -1, int(gid))
	}
	if err != nil {
		return fmt.Errorf("giving the control socket to group %s: %w", group, err)
	}
	return nil
}

// leave ends the process's part. What is pinned goes on.
func leave(plane dataplane, settings config, log *slog.Logger) error {
	if settings.bpffs == "" {
		log.Info("stopping: nothing is pinned, so the demux ends here")
		return plane.Close()
	}
	if !plane.Pinned() {
		log.Warn("stopping: the pins have gone, so the demux ends here: somebody has unmounted or removed them", "pinned", settings.bpffs)
		return plane.Close()
	}
	log.Info("stopping: the pinned demux goes on without this process; `vlandemux run` takes it over, `vlandemux detach` removes it",
		"pinned", settings.bpffs)
	return plane.Close()
}

// described returns the names of interfaces and how they are attached.
func described(attached []demux.Attachment) []string {
	list := make([]string, 0, len(attached))
	for _, a := range attached {
		how := string(a.Mode)
		if a.Index == 0 {
			how = control.StateAbsent
		}
		list = append(list, a.Name+"/"+how)
	}
	return list
}
