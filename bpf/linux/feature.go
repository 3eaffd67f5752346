// Package linux knows what came with which version of Linux. What an older
// kernel cannot do is left out by its version and for no other reason, so that
// nothing is left out because it does not work.
package linux

import (
	"fmt"
	"slices"
)

// Feature is something that not every kernel has.
type Feature int

const (
	// TCX is the attachment of programs by links, beside clsact.
	TCX Feature = iota
	// PacketUDPSuper is that packet sockets send and show UDP super-packets.
	PacketUDPSuper
	// WithoutPerfmon is that the verifier takes the demux's programs without CAP_PERFMON. 6.1
	// refuses them, versions between were not tried.
	WithoutPerfmon
	// BigTCPv4 is that TCP super-packets over IPv4 can have more than 64 KiB.
	BigTCPv4
	// UDPSuperWithoutChecksums is that UDP super-packets may be sent on an interface that does not
	// finish checksums. Before, sending fails (EIO).
	UDPSuperWithoutChecksums
	// ExecTimeNamespace is that a program which shares its memory with its parent until it is executed, as Go starts
	// them, comes into the parent's time namespace for children.
	ExecTimeNamespace
)

// since is the version a feature came with, and the feature in words.
func (f Feature) since() (version [2]int, name string) {
	known := [...]struct {
		version [2]int
		name    string
	}{
		TCX:                      {[2]int{6, 6}, "TCX"},
		PacketUDPSuper:           {[2]int{6, 2}, "UDP super-packets on packet sockets"},
		WithoutPerfmon:           {[2]int{6, 12}, "programs without CAP_PERFMON"},
		BigTCPv4:                 {[2]int{6, 3}, "TCP super-packets of more than 64 KiB over IPv4"},
		UDPSuperWithoutChecksums: {[2]int{6, 11}, "UDP super-packets on interfaces without checksum offload"},
		ExecTimeNamespace:        {[2]int{6, 2}, "time namespaces entered at exec"},
	}[f]
	return known.version, known.name
}

// String says what it is and since when it is there.
func (f Feature) String() string {
	version, name := f.since()
	return fmt.Sprintf("%s (since Linux %d.%d)", name, version[0], version[1])
}

// In reports whether a kernel has to have the feature by its release, as uname -r
// prints it. A release that does not begin with a version is asked for everything.
func (f Feature) In(release string) bool {
	var has [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &has[0], &has[1]); err != nil {
		return true
	}
	version, _ := f.since()
	return slices.Compare(has[:], version[:]) >= 0
}
