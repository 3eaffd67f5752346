// Command host is process 1 of the host's container: it wires the lab, taps it and runs vlandemux beside it as its child.
package main

import "github.com/vlandemux/vlandemux/harness/node"

func main() { node.Main(node.Host) }
