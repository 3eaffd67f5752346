package probe

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// A block is handed over once it is full or retireMilliseconds old, so that
	// even a trickle uses one up in that time: a reader may be late by the whole
	// number of blocks, 1.28 s and more. On emulated processors 0.32 s were too few.
	retireMilliseconds = 10

	// Blocks hold several packets where all are small, else one of 64 KiB at least, or of BIG TCP.
	smallPacket, smallBlock, smallRing = 2 << 10, 32 << 10, 4 << 20
	largeBlock, largeRing              = 128 << 10, 16 << 20
	sctpRing                           = 4 << 20 // few frames are in super-packets of SCTP
	bigPacket, bigBlock                = 64 << 10, 256 << 10

	// noEtherType is one that no frame has.
	noEtherType = 0xffff

	// Offsets in struct tpacket_block_desc, and in the frame header before
	// struct sockaddr_ll, whose packet type follows family, protocol, index and hardware type.
	blockStatus, blockPackets, blockFirst = 8, 12, 16
	frameLinkLayer                        = unix.SizeofTpacket3Hdr
	linkLayerPacketType                   = 10
)

// ring is a packet socket on one interface whose packets arrive in mapped
// memory. One goroutine uses it.
type ring struct {
	ringKind
	fd       int
	name     string
	index    int
	sctp     uint16 // of one for SCTP's super-packets alone, the most octets of their segments; else 0
	mem      []byte
	next     int  // block
	ended    bool // bound so that nothing arrives
	unwanted bool // of a spare: it was one at the last Trim already

	read, packets, dropped uint64
	down                   int
	filter                 *filter // nil for one that takes everything and counts no marks
	marked                 uint64
	unmarked               uint64 // of the filter's count, what came before it was forgotten
}

// ringKind is what cannot change once a ring is there.
type ringKind struct {
	namespace uint64 // the cookie of its network namespace
	block     int    // octets of each
	blocks    int
	headers   bool // with a virtio_net_hdr before each packet
}

// openRing returns once each packet that crosses the interface, of those that it takes, goes to the ring.
func openRing(point TapPoint, opts TapOptions, take packets) (r *ring, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("tapping %s: %w", point, err)
			if r != nil {
				err = errors.Join(err, r.close())
			}
			r = nil
		}
	}()
	// Protocol 0: nothing arrives before bind, so that no packet predates the ring.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket (this needs CAP_NET_RAW): %w", err)
	}
	r = &ring{fd: fd, ringKind: kindOf(point, opts.RingSize, take)}
	index, up, err := FindInterface(fd, point.Interface)
	if err != nil {
		return r, err
	}
	if !up {
		return r, fmt.Errorf("interface %q is down: a tap sees nothing before it is up", point.Interface)
	}
	if r.namespace, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
		return r, fmt.Errorf("asking for the network namespace of a packet socket: %w", err)
	}
	if spare := opts.Spares.take(r.ringKind); spare != nil {
		err = r.close()
		r = spare
	} else {
		err = r.allocate()
	}
	if err != nil {
		return r, err
	}
	r.name, r.index = point.Interface, index
	if take == sctpSuperPackets {
		r.sctp = uint16(point.SCTPSegment)
	}
	if point.Marks != 0 || take != allPackets {
		if r.filter, err = attachFilter(r.fd, point.Marks, take); err != nil {
			return r, err
		}
	}
	return r, r.bind(unix.ETH_P_ALL)
}

func kindOf(point TapPoint, size int, take packets) ringKind {
	k, ringSize := ringKind{block: largeBlock, headers: true}, largeRing
	switch {
	case take == sctpSuperPackets: // none is BIG TCP
		k.headers, ringSize = false, sctpRing
	case point.MaxPacket > bigPacket:
		k.block = bigBlock
	case point.MaxPacket > 0 && point.MaxPacket <= smallPacket:
		k.block, ringSize = smallBlock, smallRing
	}
	k.blocks = max(2, (cmp.Or(max(size, 0), ringSize)+k.block-1)/k.block)
	return k
}

// FindInterface asks for an interface of the network namespace that a socket is of. It does not list them all, as package net does.
func FindInterface(fd int, name string) (index int, up bool, err error) {
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err != nil {
		return 0, false, fmt.Errorf("finding interface %q: %w", name, err)
	}
	index = int(request.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return 0, false, fmt.Errorf("asking whether interface %q is up: %w", name, err)
	}
	return index, request.Uint16()&unix.IFF_UP != 0, nil
}

// allocate gives the socket its memory.
func (r *ring) allocate() (err error) {
	if err = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("choosing TPACKET_V3: %w", err)
	}
	if r.headers {
		if err = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return fmt.Errorf("asking for virtio headers: %w", err)
		}
	}
	const frame = 2048 // TPACKET_V3 packs frames more tightly, but checks the number
	err = unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: uint32(r.block), Block_nr: uint32(r.blocks),
		Frame_size: frame, Frame_nr: uint32(r.octets() / frame),
		Retire_blk_tov: retireMilliseconds,
	})
	if err != nil {
		return fmt.Errorf("allocating a ring of %d MiB (a smaller RingSize takes less memory): %w", r.octets()>>20, err)
	}
	r.mem, err = unix.Mmap(r.fd, 0, r.octets(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping a ring of %d MiB: %w", r.octets()>>20, err)
	}
	return nil
}

func (k ringKind) octets() int { return k.block * k.blocks }

func (r *ring) bind(protocol uint16) error {
	address := &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: r.index}
	if err := unix.Bind(r.fd, address); err != nil {
		return fmt.Errorf("binding to interface index %d: %w", r.index, err)
	}
	return nil
}

// drain hands over the packets of each block that the kernel has finished, and tells whether there was any.
func (r *ring) drain(handle func(*tapped)) (some bool) {
	for range r.blocks {
		block := r.mem[r.next*r.block:][:r.block]
		status := (*uint32)(unsafe.Pointer(&block[blockStatus]))
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			return some
		}
		some = true
		count := binary.NativeEndian.Uint32(block[blockPackets:])
		at := binary.NativeEndian.Uint32(block[blockFirst:])
		for range count {
			if packet, written := parseRingPacket(block[at:]); written {
				if r.sctp != 0 {
					packet.hdr = VirtioNetHeader{GSOType: gsoSCTP, GSOSize: r.sctp}
				}
				handle(&packet)
				r.read++
			}
			at += binary.NativeEndian.Uint32(block[at:])
		}
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % r.blocks
	}
	return some
}

// parseRingPacket reads struct tpacket3_hdr and what is behind it. The kernel leaves a packet unwritten, and counts
// it as dropped, for which there is no virtio_net_hdr: a super-packet of SCTP or, before Linux 6.2, of UDP.
func parseRingPacket(b []byte) (p tapped, written bool) {
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	half := func(at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
	p.time = int64(word(4))*int64(time.Second) + int64(word(8))
	captured, status, mac := int(word(12)), word(20), int(half(24))
	if mac < VirtioNetHeaderLen || mac+captured > len(b) {
		return p, false
	}
	p.length = int(word(16))
	p.data = b[mac:][:captured:captured]
	p.hdr = ParseVirtioNetHeader(b[mac-VirtioNetHeaderLen:])
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		p.tagged = true
		p.outer = Tag{Protocol: Dot1Q, TCI: uint16(word(32))}
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			p.outer.Protocol = half(36)
		}
	}
	p.direction = In
	if b[frameLinkLayer+linkLayerPacketType] == unix.PACKET_OUTGOING {
		p.direction = Out
	}
	return p, true
}

// asNew tells whether the ring is where a new one of its interface would be, up, and has shown all that it was given.
func (r *ring) asNew() bool {
	index, up, err := FindInterface(r.fd, r.name)
	if err != nil || !up || r.read+r.dropped != r.packets || r.failure() != nil {
		return false
	}
	bound, err := unix.Getsockname(r.fd) // an interface that went took the binding with it
	at, packet := bound.(*unix.SockaddrLinklayer)
	return err == nil && packet && at.Ifindex == index && at.Protocol == networkOrder(unix.ETH_P_ALL)
}

// forget begins to count anew.
func (r *ring) forget() {
	r.read, r.packets, r.dropped, r.down = 0, 0, 0, 0
	r.unmarked += r.marked
	r.marked = 0
}

// count adds what the kernel counted since it was last asked.
func (r *ring) count() error {
	stats, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("asking for the socket's statistics: %w", err)
	}
	r.packets += uint64(stats.Packets) // drops included
	r.dropped += uint64(stats.Drops)
	if r.filter != nil {
		r.marked, err = r.filter.marked()
		r.marked -= r.unmarked
	}
	return err
}

// end has nothing more arrive.
func (r *ring) end() error {
	// Binding again waits until no processor delivers to the old binding. An interface that has gone took the binding with it.
	if err := r.bind(noEtherType); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	r.ended = true
	return nil
}

// close releases memory and descriptors. What was counted stays.
func (r *ring) close() error {
	var errs []error
	if r.filter != nil {
		errs = append(errs, r.filter.close())
		r.filter = nil
	}
	if r.mem != nil {
		errs = append(errs, unix.Munmap(r.mem))
		r.mem = nil
	}
	if r.fd >= 0 {
		errs = append(errs, unix.Close(r.fd))
		r.fd = -1
	}
	return errors.Join(errs...)
}
