package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/harness/agent"
)

func newAgent() *cobra.Command {
	return &cobra.Command{
		Use:    "agent",
		Hidden: true,
		Short:  "Serve the test harness on standard input and output",
		Long: `Be the harness's agent in a lab's host container: wire the lab, tap it, and run this program as a child.
The harness starts it; it is of no use on a real trunk. It ends when standard input does, and takes down what
it started.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return agent.Serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), agent.RoleHost, log)
		},
	}
}
