// Package traffic is what a client or a worker does with sockets: it sends crafted frames, pings, asks and answers over HTTP, and exchanges
// checked octets over TCP and UDP. It works in the network namespace of the calling thread and knows nothing of containers.
//
// Every report counts what really happened, also when the call fails: a function returns its report next to the error.
// A server runs until its context ends and has closed each of its sockets when it returns.
package traffic
