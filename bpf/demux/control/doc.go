// Package control is the demux's API for programs: HTTP and JSON on a unix socket.
//
//	GET    /v1/status
//	GET    /v1/assignments
//	PUT    /v1/assignments         all at once: what changed, or would, is answered
//	PUT    /v1/assignments/{mac}   {"worker": "w0", "reassign": false}
//	DELETE /v1/assignments/{mac}
//	DELETE /v1/interfaces/{name}
//	GET    /v1/counters
//	GET    /v1/events              one JSON object a line, as they happen
//	GET    /v1/drops               the same, of dropped frames
//	GET    /v1/openapi.yaml        describes all of these to the letter
//	GET    /metrics                for Prometheus
//
// The first line of /v1/events is {"type":"ready"}: whatever the dataplane reports after it, the reader
// gets. The last one, when the server ends the stream, is {"type":"end","error":{…}}. A request that
// fails is answered with a status of 400 or more and an [Error].
//
// [Server] answers on behalf of a dataplane, [Client] asks.
package control
