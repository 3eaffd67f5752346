// Package demux gives every client behind a VLAN trunk a worker of its own,
// whatever its IP address and whichever VLAN it is plugged into.
//
// A [Demux] is a pair of tc programs and their maps. phys2virt runs on each
// trunk: it learns where a client (a MAC address) was last seen and hands its
// frames, without the outer tag, to the worker the MAC is assigned to.
// virt2phys runs on the host end of each worker: it gives a frame the tag of
// the client it is addressed to and sends it out of the trunk that client was
// last seen on. A group frame leaves once for each distinct place of the
// worker's clients. With [EarlyDropXDP] an XDP program in the driver of each trunk drops frames of unknown MACs.
//
// Assignments are written by user space alone, what is learned by the programs
// alone. Counters are in wire frames and in octets on the trunk, VLAN tags
// included and FCS not; a GSO super-packet counts as the frames it stands for.
//
// Interfaces are called by their names, in the network namespace of the calling
// thread: call [Load] and the methods of one Demux in one and the same
// namespace. Linux 6.1 or newer; CAP_BPF and CAP_NET_ADMIN, before 6.12 CAP_PERFMON
// too; the pin folder must be writable.
package demux
