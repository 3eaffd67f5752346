package nettest

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setEthtool sets one of the old switches of ethtool. Both structures are on
// the heap and pinned: the kernel follows a pointer from one to the other.
func setEthtool(socket int, name string, command, value uint32) error {
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
		return errno
	}
	return nil
}
