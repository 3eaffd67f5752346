// Package linux knows what came with which version of Linux. What an older
// kernel cannot do is left out by its version and for no other reason, so that
// nothing is left out because it does not work.
package linux

import "fmt"

// Feature is something that not every kernel has.
type Feature int

const (
	// TCX is the attachment of programs by links, beside clsact.
	TCX Feature = iota
	// PacketUDPSuper is that packet sockets send and show UDP super-packets.
	PacketUDPSuper
)

// since is the version a feature came with, and the feature in words.
func (f Feature) since() (major, minor int, name string) {
	switch f {
	case TCX:
		return 6, 6, "TCX"
	case PacketUDPSuper:
		return 6, 2, "UDP super-packets on packet sockets"
	default:
		panic(fmt.Sprintf("there is no feature %d", int(f)))
	}
}

// String says what it is and since when it is there.
func (f Feature) String() string {
	major, minor, name := f.since()
	return fmt.Sprintf("%s (since Linux %d.%d)", name, major, minor)
}

// In reports whether a kernel has to have the feature by its release, as uname -r
// prints it. A release that does not begin with a version is asked for everything.
func (f Feature) In(release string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return true
	}
	wantMajor, wantMinor, _ := f.since()
	return major > wantMajor || major == wantMajor && minor >= wantMinor
}
