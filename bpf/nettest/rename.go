package nettest

import (
	"errors"

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
	if link.Attrs().OperState != netlink.OperUp {
		return nil
	}
	return AwaitOperational(name)
}
