// Package vlanport is a learning VLAN switch in tc BPF, for kernels without the
// 8021q module.
//
// Each (trunk, protocol, VID) is a bridge of its own between the access ports
// in it and the trunk, as if the kernel's bridge held the ports and a VLAN
// subinterface of the trunk: it learns source addresses, forwards to the one
// port of a known address, never back out of the port a frame came in by, and
// floods the rest. Ageing, spanning tree and multicast snooping are off; link
// local groups are forwarded, pause frames are not. Frames with a group or zero
// source, and frames from the trunk which are untagged or of a VLAN without a
// port, are dropped. A tag that a frame has on an access port is its inner one.
package vlanport
