// Package control is the demux's API for programs: HTTP and JSON on a unix socket.
//
//	GET    /v1/status
//	GET    /v1/assignments
//	POST   /v1/assignments         new ones, or with ?reassign=true other workers: all or none
//	PUT    /v1/assignments         these and, with ?prune=true, no others; answers with what changed
//	PUT    /v1/assignments/{mac}   {"worker": "w0", "reassign": false}
//	DELETE /v1/assignments/{mac}
//	DELETE /v1/interfaces/{name}
//	GET    /v1/counters
//	GET    /v1/events              one JSON object a line, as they happen
//	GET    /v1/drops               the same, of dropped frames
//	GET    /v1/openapi.yaml        the exact description of all of these
//	GET    /metrics                for Prometheus
//
// The first line of /v1/events and /v1/drops is {"type":"ready"}: the reader gets all that the dataplane reports
// after it. If the server ends the stream, the last line is {"type":"end","error":{…}}. A request that
// fails is answered with a status of 400 or more and an [Error].
//
// [Server] answers for a dataplane, [Client] asks.
package control
