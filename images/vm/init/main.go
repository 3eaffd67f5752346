// Program init is process 1 of the virtual machine that images/vm/vm runs. It is of no use anywhere else.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vlandemux/vlandemux/images/vm/internal/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this program is process 1 of a virtual machine; images/vm/vm starts it")
		os.Exit(2)
	}
	if err := guest.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "vlandemux-init:", err)
	}
	guest.PowerOff()
}
