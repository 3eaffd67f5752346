// Command worker is process 1 of a worker's container: the agent through which a test has it answer, send and listen.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/vlandemux/vlandemux/harness/agent"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := agent.Serve(context.Background(), os.Stdin, os.Stdout, agent.RoleWorker, log); err != nil {
		log.Error("the agent failed", "error", err)
		os.Exit(1)
	}
}
