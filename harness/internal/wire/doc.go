// Package wire lays a lab's links: it turns a Plan into network namespaces,
// veth pairs and a VLAN switch, moves clients between VLANs while traffic
// flows, reports the state of every interface and takes everything away again.
//
//	client c0            switch                      host             worker w0
//	 eth0 ══════ c0 ─┐                          ┌─ w0 ══════════════════ eth0
//	client c1        ├─ VLANs ─ trunk0 ══ trunk0┤                     worker w1
//	 eth0 ══════ c1 ─┘                          └─ w1 ══════════════════ eth0
//
// Each ══ is a veth pair. The host is the network namespace of the calling
// process, the switch is a namespace of its own that exists as long as the
// Network holds its descriptor, and clients and workers are namespaces of
// other processes (containers), named by process ID. One worker can be in the
// host's own namespace instead.
//
// The switch comes in three kinds that behave alike. The kind "8021q" is a
// Linux bridge per (trunk, protocol, VID) holding a VLAN subinterface of the
// trunk end and the access ports; it needs the kernel's 8021q module. The kind
// "tc" is vlanport: a learning switch in BPF, for kernels without it.
// The kind "bridge" is one VLAN-filtering bridge with a PVID for each
// access port, the trunks being tagged members; it needs a few rules of tc.
//
// # Privileges
//
// The caller needs CAP_NET_ADMIN and CAP_SYS_ADMIN in the initial user
// namespace, a superset of the capabilities that the clients and workers hold
// (otherwise /proc/PID/ns/net cannot be opened) and the host's PID namespace.
// Sysctls are written through a procfs instance made for the purpose (fsopen,
// fsmount) which is never mounted anywhere: a container's own /proc/sys stays
// read-only, nothing is remounted and nothing is left to undo.
//
// # MTU
//
// The interfaces of clients and workers, and the other ends of their pairs,
// have Plan.MTU; both ends of a trunk have Plan.MTU + 8 (TrunkHeadroom). veth,
// bridge and AF_PACKET accept a frame when its octets without the accelerated
// (outermost) tag, Ethernet header included, number at most MTU + 18: MTU, a
// header of 14 and one tag of 4. So at MTU 1500 a client can send and a worker
// can receive 1518 octets, its own tags included (AF_PACKET sends those last 4
// octets only if the first tag is 802.1Q), and on the trunk such a frame has
// 1522 octets; the 8 further octets let a frame with two tags of any protocol
// be injected at a trunk as well, where AF_PACKET sees both tags in the data.
// VLAN subinterfaces of the trunk and bridges inherit the trunk's MTU; what is
// between an access port and the VLAN-filtering bridge has the port's.
//
// # What the kernel sends by itself
//
// With Plan.IPv6 false: nothing. IPv6 is disabled in every namespace of the
// lab before the first interface comes up, bridges neither snoop nor query,
// and adding IPv4 addresses announces nothing.
//
// With Plan.IPv6 true the switch and the host still have no IPv6. On the
// interfaces of clients and workers router solicitations, router
// advertisements, link-local addresses, duplicate address detection and
// temporary addresses are off. What remains is MLDv2: for each solicited-node
// group an interface joins, Linux sends reports to ff02::16 from the
// unspecified address, at most as often as net.ipv6.mld_qrv says (2, not a
// setting of the namespace). The interval between them is pinned to 1 ms, so
// that they take milliseconds (40 in an emulated machine). Apply does not wait for
// them.
package wire
