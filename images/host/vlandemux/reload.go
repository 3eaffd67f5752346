package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// reloader brings a running dataplane to the settings as they are now.
type reloader struct {
	plane dataplane
	log   *slog.Logger
	// settings are those that hold.
	settings config
	reread   func() (config, error)
}

// serve reloads at each signal until ctx ends. A reload that fails changes nothing, and is logged.
func (r *reloader) serve(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		notify(r.log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
		if err := r.reload(ctx); err != nil {
			r.log.Error("reloading failed, the settings stay as they were", "error", err)
		}
		notify(r.log, daemon.SdNotifyReady)
	}
}

func (r *reloader) reload(ctx context.Context) error {
	settings, err := r.reread()
	if err != nil {
		return err
	}
	if r.settings.listed && !settings.listed { // as when it is being written, or whoever was to write it has failed
		return errors.New(`the file has no "assign" any more, and its clients would be unassigned: "assign: {}" says so`)
	}
	later := settings.needsRestart(r.settings)
	settings.unknown = r.settings.unknown // a constant of the programs
	gone := r.dropped(settings)
	if err := (&starter{plane: r.plane, log: r.log, gone: gone}).start(ctx, settings); err != nil {
		return err
	}
	if len(later) > 0 {
		r.log.Warn("these settings take effect at the next start", "settings", later)
	}
	r.settings = settings
	r.log.Info("reloaded", "trunks", described(r.plane.Trunks()), "assignments", len(settings.assign), "unassigned", len(gone))
	return nil
}

// dropped lists what the settings named before and do not name any more. What somebody else
// assigned stays, and so does what has been unassigned by now.
func (r *reloader) dropped(settings config) []demux.Assignment {
	before := control.Compare(r.settings.assign, settings.assign, true).Gone
	now, err := r.plane.Find(demux.MACs(before))
	if err != nil {
		return nil // it is closed
	}
	return slices.DeleteFunc(now, func(a demux.Assignment) bool {
		at, _ := slices.BinarySearchFunc(before, a.MAC, func(b demux.Assignment, mac demux.MAC) int { return b.MAC.Compare(mac) })
		return before[at].Worker != a.Worker
	})
}

// needsRestart names the settings that differ from former and hold from the start of a process to its end.
func (c config) needsRestart(former config) []string {
	var changed []string
	for name, differs := range map[string]bool{
		"unknown": c.unknown != former.unknown, "group_limit": c.groupLimit != former.groupLimit,
		"age": c.age != former.age, "untagged": c.untagged != former.untagged, "redirect": c.redirect != former.redirect, "early_drop": c.earlyDrop != former.earlyDrop,
		"attach": c.attach != former.attach, "capacity": c.capacity != former.capacity,
		"bpffs": c.bpffs != former.bpffs, "socket": c.socket != former.socket, "metrics": c.metrics != former.metrics, "socket_group": c.socketGroup != former.socketGroup,
	} {
		if differs {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed
}

// notify tells systemd a state, if it has started this process.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("telling systemd", "state", state, "error", err)
	}
}
