// Package ledger is the oracle of a lab: it compares every frame that was sent
// with every frame that was seen, and both with what the demux counted.
//
// It knows what each part of a lab has to do with a frame (a reference switch and
// a reference demux, written from their contracts and not from their code) and
// demands it at every tap: each frame exactly where it has to be, exactly as
// often, with the right tags, length and octets, and nowhere else. The demux's
// counters have to agree to the frame and the octet.
//
// A lab is checked part by part. What enters a part was seen by its taps, so what
// has to leave it follows from what came in, and a frame that goes wrong is
// reported where that happened and not at each tap behind it.
//
//	client ── client tap │ switch tap ── switch ── trunk ── demux ── worker ── worker tap
//
// # Order
//
// What a part does with a frame can depend on frames before it: a location the
// demux learned, a port the switch learned, a client being moved. A part handles a
// frame between the moment one tap saw it come in and the moment another saw it
// leave. Where one such interval ends before another begins, the order is known
// and the ledger insists on it. Where they overlap, the order is undefined, and
// what follows from either order is right. On one tap the order is the tap's.
//
// Where it cannot be known when a part was done with a frame (it was never seen to
// leave, or several of the same octets were on their way), 10 ms after it came in
// are taken for the end of its interval. This matters only that close to a move, a
// change of an assignment or something learned anew. Nothing else is tolerated.
package ledger
