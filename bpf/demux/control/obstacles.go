package control

import (
	"fmt"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// obstacles say what has the frames of an interface before the demux.
func obstacles(name string, facts Facts) (list []string) {
	if facts.XDP {
		list = append(list, fmt.Sprintf("%s has an XDP program, which gets each frame before the demux: what it drops or redirects is counted nowhere here; ip link set %s xdp off", name, name))
	}
	if facts.LRO {
		list = append(list, fmt.Sprintf("%s has large receive offload on: the frames it joins do not fit through the other end, and are counted as one; ethtool -K %s lro off", name, name))
	}
	return list
}

// WarnOfObstacles logs what has the frames of an interface, to which the demux was attached, before it does.
func (s *Server) WarnOfObstacles(name string) {
	problems := obstacles(name, s.options.Names.Facts(name))
	for _, problem := range problems {
		s.warned.Store(name, true)
		s.log.Warn("not all frames may reach the demux", "interface", name, "problem", problem)
	}
}

// warnOfWorkers does so for the workers of assignments that were made, once for each.
func (s *Server) warnOfWorkers(made []demux.Assignment) {
	seen := make(map[string]bool)
	for _, a := range made {
		if _, before := s.warned.Load(a.Worker); !before && !seen[a.Worker] {
			s.WarnOfObstacles(a.Worker)
		}
		seen[a.Worker] = true
	}
}

// warnOfAll does so for all that is attached, and learns the trunks' names: one may be gone when it is asked for.
func (s *Server) warnOfAll() {
	for _, trunk := range s.options.Dataplane.Trunks() {
		s.options.Names.Name(trunk.Index)
		s.WarnOfObstacles(trunk.Name)
	}
	for _, worker := range s.options.Dataplane.Workers() {
		s.WarnOfObstacles(worker.Name)
	}
}
