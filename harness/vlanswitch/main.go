// Command vlanswitch makes interfaces the ports of a VLAN switch until it is interrupted. It
// stands in for real hardware where the kernel has no 8021q.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
	"github.com/vlandemux/vlandemux/harness/internal/vlanport"
	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: vlanswitch TRUNK ACCESS_PORT=VID ...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "vlanswitch:", err)
		os.Exit(1)
	}
}

func run(trunkName string, ports []string) (err error) {
	trunk, err := net.InterfaceByName(trunkName)
	if err != nil {
		return fmt.Errorf("looking up trunk %s: %w", trunkName, err)
	}
	access := make([]vlanport.Access, 0, len(ports))
	for _, text := range ports {
		name, number, _ := strings.Cut(text, "=")
		vid, err := strconv.ParseUint(number, 10, 12)
		if err != nil {
			return fmt.Errorf("reading %q: want ACCESS_PORT=VID: %w", text, err)
		}
		port, err := net.InterfaceByName(name)
		if err != nil {
			return fmt.Errorf("looking up access port %s: %w", name, err)
		}
		access = append(access, vlanport.Access{Index: port.Index, VLAN: probe.VLAN{Protocol: unix.ETH_P_8021Q, VID: uint16(vid)}, Trunk: trunk.Index})
	}
	sw, err := vlanport.Load()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sw.Close()) }()
	if err := errors.Join(sw.AddTrunk(trunk.Index), sw.AddPorts(access...)); err != nil {
		return err
	}
	fmt.Println("ready")
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGINT, unix.SIGTERM)
	<-end
	return nil
}
