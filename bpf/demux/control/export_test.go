package control

import (
	"maps"
	"net/http"
	"slices"
)

// Routes lists what a server answers, as "GET /path".
func Routes() []string {
	s := NewServer(ServerOptions{Metrics: http.NotFoundHandler()})
	return slices.Collect(maps.Keys(s.routes()))
}

// Empty reports whether nothing differs.
func (d Difference) Empty() bool { return len(d.Assigned)+len(d.Reassigned)+len(d.Unassigned) == 0 }

// Codes lists every code of an [Error].
func Codes() []string {
	codes := []string{string(CodeInternal)}
	for _, k := range kinds() {
		codes = append(codes, string(k.code))
	}
	return codes
}
