package nettest

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Rename gives an interface another name. Linux before 6.2 renames none that is up:
// there it is taken down for it, and Rename returns once it sends again.
func Rename(link netlink.Link, name string) error {
	err := netlink.LinkSetName(link, name)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return err
	}
	if err := netlink.LinkSetName(link, name); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		now, err := netlink.LinkByIndex(link.Attrs().Index)
		if err != nil {
			return err
		}
		if state := now.Attrs().OperState; state == netlink.OperUp || state == link.Attrs().OperState {
			return nil
		}
	}
	return fmt.Errorf("%s is not up again", name)
}
