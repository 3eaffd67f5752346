// Command library starts a lab and says who is in it, from a module of its own.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/vlandemux/vlandemux/harness"
)

func main() {
	lab, err := harness.Start(context.Background(), harness.Topology{
		Clients: []harness.Client{{Name: "c0", MAC: harness.MAC{2, 0, 0, 0, 0, 1}, Place: harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: 7}}, Worker: "w0"}},
		Workers: []harness.Worker{{Name: "w0", MAC: harness.MAC{2, 0, 0, 0, 1, 1}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(lab)
	if err := lab.Close(); err != nil {
		log.Fatal(err)
	}
}
