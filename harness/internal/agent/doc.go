// Package agent is both ends of the conversation between a test process and the containers of its lab.
//
// An agent is process 1 of each container. It speaks HTTP/2 cleartext over its standard input and output, which the test process holds as the
// container's attach stream: one connection, any number of calls at the same time, no published port. A request is JSON, and so is each line of its
// answer: events, and at the end a report or an error with its whole text. What the taps saw is raw octets. A call that is cancelled cancels what it started.
// When the stream ends, by Close or because the test process died, the agent stops everything it started and exits, and the container goes with it.
//
// The package is split by subject: each file holds one subject's routes (what the agent does) and the client's methods (how the test asks for it).
package agent
