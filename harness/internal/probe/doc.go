// Package probe makes the frames that a lab sends and records the frames that
// it carries, so that the two can be compared one by one.
//
// A [Batch] is a deterministic series of frames, each with an ID of its own. A
// [Tap] records what one interface carries, both ways, as [Sighting]s: what the
// wire would carry, whatever the kernel had offloaded. A tag held outside the
// data is put back, a GSO super-packet is split into the frames it stands for,
// and unfinished checksums are finished. A [Fingerprint] names a frame's octets
// without its VLAN tags, and so is the same at every hop of a lab.
//
// Sizes are in octets, from the destination MAC to the end of the payload, tags
// included, frame check sequence excluded.
package probe
