// Command client is process 1 of a client's container: the agent through which a test has it send, ping, ask and listen.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/vlandemux/vlandemux/harness/agent"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := agent.Serve(context.Background(), os.Stdin, os.Stdout, agent.RoleClient, log); err != nil {
		log.Error("the agent failed", "error", err)
		os.Exit(1)
	}
}
