package wire

import "github.com/vlandemux/vlandemux/bpf/demux"

type link struct{ near, far end }

type end struct {
	node  string // HostNode, SwitchNode, or the name of a client or worker
	name  string // of the interface
	tap   string // the interface where taps see its frames
	index int    // only meaningful in the namespace of the end
	mac   demux.MAC
}

// Move says where a client is to be plugged in from now on.
type Move struct {
	Client string `json:"client"`
	Place
}

// MoveWindow is when a move happened, in nanoseconds of CLOCK_REALTIME since
// 1970, the clock AF_PACKET stamps frames with. Before Start the port belonged
// to the old VLAN alone, after End it belongs to the new one alone; in between
// a frame may have been switched by the old, the new or neither.
type MoveWindow struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}
