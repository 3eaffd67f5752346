package traffic

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
)

// Kind is a kind of traffic as the process whose sockets it needs runs it. Requests, events and reports are JSON.
type Kind struct {
	Name string
	// Run does what the request asks for. A server calls ready once it listens and goes on until ctx ends. The report counts what was done, also
	// beside an error.
	Run func(ctx context.Context, request json.RawMessage, ready func(netip.AddrPort), event func(json.RawMessage)) (json.RawMessage, error)
}

// Kinds are all there are. A new kind is a file like ping.go, with its types, what it does, its kind and the method of [Sockets] that asks for it;
// and its name here.
func Kinds() []Kind {
	return []Kind{sendKind(), pingKind(), httpGetKind(), httpServeKind(), tcpKind(), udpKind(), udpServeKind()}
}

// Agent carries requests to the process that has the sockets.
type Agent interface {
	// Do runs a kind of traffic to its end. The report is what was done, also beside an error. event may be nil.
	Do(ctx context.Context, kind string, request any, event func(json.RawMessage) error) (json.RawMessage, error)
	// DoUntil is Do for what goes on until over is closed.
	DoUntil(ctx context.Context, over <-chan struct{}, kind string, request any) (json.RawMessage, error)
	// Serve starts a server and returns once it listens. The server ends with ctx or Close. event may be nil.
	Serve(ctx context.Context, kind string, request any, event func(json.RawMessage) error) (Server, error)
}

// Server runs until its context ends or Close is called.
type Server interface {
	// Address is where it listens; the port is the kernel's if none was asked for.
	Address() netip.AddrPort
	// Close stops the server and returns when it has closed its sockets and its last event was handed on. It returns the error that had ended the
	// server before, if any. Safe to call again.
	Close() error
	// Done is closed when the server has ended.
	Done() <-chan struct{}
}

// Sockets are those of a client or worker. Its methods are safe for concurrent use.
type Sockets struct{ agent Agent }

// Of returns the sockets of the process that the agent runs in.
func Of(a Agent) Sockets { return Sockets{a} }

// newKind makes a kind of a function. event may be called until it returns.
func newKind[Request, Event, Report any](
	name string, run func(context.Context, Request, func(netip.AddrPort), func(Event)) (Report, error),
) Kind {
	return Kind{Name: name, Run: func(ctx context.Context, text json.RawMessage, ready func(netip.AddrPort), event func(json.RawMessage)) (json.RawMessage, error) {
		var request Request
		if err := json.Unmarshal(text, &request); err != nil {
			return nil, fmt.Errorf("reading the request for traffic of kind %s: %w", name, err)
		}
		report, err := run(ctx, request, ready, func(e Event) { event(encoded(e)) })
		return encoded(report), err
	}}
}

// simpleKind is one without events that does not listen.
func simpleKind[Request, Report any](name string, run func(context.Context, Request) (Report, error)) Kind {
	return newKind(name, func(ctx context.Context, r Request, _ func(netip.AddrPort), _ func(struct{})) (Report, error) {
		return run(ctx, r)
	})
}

func encoded(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // events and reports are plain data
	}
	return text
}

// do asks for a kind of traffic that ends by itself.
func do[Report, Event any](ctx context.Context, s Sockets, kind string, request any, event func(Event)) (Report, error) {
	text, err := s.agent.Do(ctx, kind, request, decoding(event))
	return reported[Report](kind, text, err)
}

// reported decodes the report that came, perhaps beside an error.
func reported[Report any](kind string, text json.RawMessage, err error) (report Report, _ error) {
	if len(text) > 0 {
		if decodeErr := json.Unmarshal(text, &report); err == nil && decodeErr != nil {
			err = fmt.Errorf("reading the report of traffic of kind %s: %w", kind, decodeErr)
		}
	}
	return report, err
}

// decoding hands decoded events on.
func decoding[Event any](event func(Event)) func(json.RawMessage) error {
	if event == nil {
		return nil
	}
	return func(text json.RawMessage) error {
		var e Event
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}
		event(e)
		return nil
	}
}
