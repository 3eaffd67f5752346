package demux

import "fmt"

// DropReason says why a frame was not forwarded.
type DropReason uint32

// The reasons, as the programs know them.
const (
	DropUntagged      = DropReason(bpfDropReasonDROP_UNTAGGED)       // trunk: no VLAN tag
	DropInvalidSource = DropReason(bpfDropReasonDROP_INVALID_SOURCE) // trunk: source address is zero or a group
	DropInvalidVLAN   = DropReason(bpfDropReasonDROP_INVALID_VLAN)   // trunk: VID 4095
	DropUnknownClient = DropReason(bpfDropReasonDROP_UNKNOWN_CLIENT) // trunk: source address has no worker
	DropNotAssigned   = DropReason(bpfDropReasonDROP_NOT_ASSIGNED)   // worker: destination is no client of this worker
	DropUnlearned     = DropReason(bpfDropReasonDROP_UNLEARNED)      // worker: the client has not been seen yet
	DropTagFailed     = DropReason(bpfDropReasonDROP_TAG_FAILED)     // the kernel could not pop or push the tag
	DropNoWorker      = DropReason(bpfDropReasonDROP_NO_WORKER)      // trunk: the client's worker is not there, or down
	DropTooLong       = DropReason(bpfDropReasonDROP_TOO_LONG)       // the frame has more octets than the worker or the trunk takes
	DropNoTrunk       = DropReason(bpfDropReasonDROP_NO_TRUNK)       // worker: the client's trunk is down
	DropGroupLimit    = DropReason(bpfDropReasonDROP_GROUP_LIMIT)    // worker: more group frames than Options.GroupLimit
	DropWrongPlace    = DropReason(bpfDropReasonDROP_WRONG_PLACE)    // trunk: the client may not be there, see Assignment.Places
	DropCopyFailed    = DropReason(bpfDropReasonDROP_COPY_FAILED)    // the kernel could not clone or queue a copy of a group frame
)

// String returns the name of the reason as counters print it: "untagged".
func (r DropReason) String() string {
	names := [...]string{
		DropUntagged: "untagged", DropInvalidSource: "invalid_source", DropInvalidVLAN: "invalid_vlan", DropUnknownClient: "unknown_client",
		DropNotAssigned: "not_assigned", DropUnlearned: "unlearned", DropTagFailed: "tag_failed", DropNoWorker: "no_worker", DropTooLong: "too_long",
		DropNoTrunk: "no_trunk", DropGroupLimit: "group_limit", DropWrongPlace: "wrong_place", DropCopyFailed: "copy_failed",
	}
	if int(r) < len(names) && names[r] != "" {
		return names[r]
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}
