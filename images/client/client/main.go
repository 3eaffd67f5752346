// Command client is process 1 of a client's container: it sends, pings, asks and listens as the harness tells it to.
package main

import "github.com/vlandemux/vlandemux/harness/node"

func main() { node.Main(node.Client) }
