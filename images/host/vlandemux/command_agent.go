package main

import (
	"github.com/spf13/cobra"

	"github.com/vlandemux/vlandemux/harness/node"
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
		Run:  func(*cobra.Command, []string) { node.Main(node.Host) },
	}
}
