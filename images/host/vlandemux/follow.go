package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// follower logs what becomes of the interfaces.
type follower struct {
	log *slog.Logger
	// warn is called when an interface is attached.
	warn func(name string)

	mu    sync.Mutex
	state control.Following // guarded by mu
}

// follow has plane follow the interfaces until ctx ends. It is ready once it has called started.
func (f *follower) follow(ctx context.Context, plane dataplane, started func()) error {
	return plane.Follow(ctx, demux.FollowOptions{Looked: sync.OnceFunc(started), Changed: f.changed, Overflowed: f.overflowed})
}

func (f *follower) changed(change demux.Change) {
	if change.Err != nil {
		f.log.Error("following an interface", "interface", change.Name, "change", change.What, "error", change.Err)
		return
	}
	f.log.Warn("an interface of the demux changed", "interface", change.Name, "change", change.What)
	if strings.HasPrefix(change.What, "attached") {
		f.warn(change.Name)
	}
}

func (f *follower) overflowed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Overflows++
	f.state.LastOverflow = time.Now()
	f.log.Warn("the kernel's messages about interfaces overflowed: looking at every interface again", "overflows", f.state.Overflows)
}

// following says how often messages were lost.
func (f *follower) following() control.Following {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}
