// Package node is the main program of a lab's containers. The programs of the
// images call it, and nothing else has use for it.
package node

import (
	"context"
	"log/slog"
	"os"

	"github.com/vlandemux/vlandemux/harness/internal/agent"
)

// Role is what a container is in the lab.
type Role = agent.Role

// The roles. The host alone changes the kernel's configuration; clients and workers use sockets only.
const (
	Host   = agent.RoleHost
	Client = agent.RoleClient
	Worker = agent.RoleWorker
)

// Main takes the harness's orders on standard input and answers on standard
// output until standard input ends. The log goes to standard error. It ends the
// process with status 1 on an error.
func Main(role Role) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := agent.Serve(context.Background(), os.Stdin, os.Stdout, agent.Config{Role: role, Demux: "/vlandemux", Log: log}); err != nil {
		log.Error("the agent failed", "error", err)
		os.Exit(1)
	}
}
