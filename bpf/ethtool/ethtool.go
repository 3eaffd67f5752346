// Package ethtool reads and sets the switches of an interface that fit into one ioctl.
package ethtool

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of an interface, as the kernel's linux/ethtool.h has them.
const (
	FlagTxVLAN = 1 << 7  // the device puts the outermost 802.1Q tag into the frame
	FlagLRO    = 1 << 15 // the device joins frames that it receives
)

// Flags returns the flags of the interface in the network namespace of the socket.
func Flags(socket int, name string) (uint32, error) {
	return do(socket, name, unix.ETHTOOL_GFLAGS, 0)
}

// SetFlags sets all flags of the interface.
func SetFlags(socket int, name string, flags uint32) error {
	return Set(socket, name, unix.ETHTOOL_SFLAGS, flags)
}

// Set executes one of the commands of ethtool that take a value.
func Set(socket int, name string, command, value uint32) error {
	_, err := do(socket, name, command, value)
	return err
}

// do returns the value as the kernel left it. Both structures are on the heap and pinned: the
// kernel follows a pointer from one to the other.
func do(socket int, name string, command, value uint32) (uint32, error) {
	type ethtoolValue struct{ command, value uint32 }
	type request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	setting := &ethtoolValue{command, value}
	req := &request{data: unsafe.Pointer(setting)}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	var pinner runtime.Pinner
	pinner.Pin(setting)
	pinner.Pin(req)
	defer pinner.Unpin()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(req))); errno != 0 {
		return 0, errno
	}
	return setting.value, nil
}
