package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// listenMetrics listens on a TCP address: nil without one.
func listenMetrics(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serving metrics on %s: %w", address, err)
	}
	return listener, nil
}

// serveMetrics answers scrapes on listener, which may be nil, until the function it returns is called.
func serveMetrics(listener net.Listener, metrics http.Handler) (stop func() error) {
	if listener == nil {
		return func() error { return nil }
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return func() error {
		closed := server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return errors.Join(closed, fmt.Errorf("serving metrics on %s: %w", listener.Addr(), err))
		}
		return closed
	}
}
