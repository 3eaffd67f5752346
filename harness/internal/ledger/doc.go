// Package ledger checks a lab: it compares every frame that was sent with every
// frame that was seen, and both with what the demux counted, listed and announced.
//
// A scenario writes no expectations for single frames. The package holds a
// reference switch and a reference demux, written from their contracts and not from
// their code. It computes from them what each tap must see: each frame exactly where
// it has to be, exactly as often, with the right tags, length and octets, in order,
// in time, and nowhere else. Counters must agree to the frame and the octet.
//
// A lab is checked part by part. What enters a part was seen by its taps, so what
// has to leave it follows from what came in, and a frame that goes wrong is
// reported where that happened and not at each tap behind it.
//
//	client ── client tap │ switch tap ── switch ── trunk ── demux ── worker ── worker tap
//
// Where the demux hands frames to the other end of a worker's veth (Setup.RedirectPeer), what comes in there counts as what it
// sent to the host's end, and nothing may be seen to leave by that. Where it drops frames of unknown MACs in the trunk's
// driver (Setup.EarlyDrop), what leaves the switch there counts as what came in, and may not be seen to.
//
// # Order
//
// What a part does with a frame can depend on frames before it: a location the
// demux learned, a port the switch learned, a client being moved. A part handles a
// frame between the moment one tap saw it come in and the moment another saw it
// leave. Where one such interval ends before another begins, the order is known
// and the ledger insists on it. Where they overlap, the order is undefined, and
// what follows from either order is right.
//
// Where it cannot be known when a part was done with a frame (it was never seen to
// leave, or several of the same octets were on their way), 10 ms after it came in
// are taken for the end of its interval. This matters only within 10 ms of a move, of a
// change of an assignment, or of something that was learned. Nothing else is tolerated.
//
// Everything that a part remembers is kept in a register: a list of writes, each
// somewhere within an interval, that can be asked which values a read within another
// interval can have found. A client's location in the demux, while the client moves
// from VLAN 7 to VLAN 8, in µs:
//
//	written    ├─ 7 ─┤                   frame A from VLAN 7 handled from 10 to 16
//	                        ├─ 8 ─┤      frame B from VLAN 8 handled from 30 to 36
//	reply 1             ├┤               from 22 to 24: A is over, B not begun:  7
//	reply 2                  ├─┤         from 32 to 35: B is under way:          7 or 8
//	reply 3                        ├─┤   from 38 to 41: B is over:               8
//	time       10   16     30    36
//
// Reply 2 may leave with either tag, reply 1 and reply 3 with one only.
//
// # Reading the code
//
// In this order: input.go (what is given), taps.go (where each tap sits),
// frametable.go (all sightings, by frame), register.go, history.go (the registers of
// a lab), refswitch.go and refdemux.go (what may become of a frame),
// check.go and part.go (the comparison), then each by itself: counters.go, state.go
// (assignments, locations, events), forget.go (locations that age), timing.go, cost.go (what moves cost), verdict.go,
// wrongframe.go, path.go and report.go (what is printed). frame.go is about single frames.
package ledger
