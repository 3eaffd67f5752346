package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// streams measures TCP between a client and its worker, offloads on: octets a
// second one way, and requests of one octet that are answered one after another.
func (b *bench) streams(ctx context.Context) (err error) {
	var started []*running
	defer func() { err = errors.Join(err, closeAll(started)) }()
	for _, v := range []variant{direct(), limit(), ours(), oursPeer(), seed(), peer(), ovs()} {
		r, err := v.start(ctx, 1)
		if err != nil && v.optional {
			fmt.Fprintf(os.Stderr, "bench: left out: %v\n", err)
			continue
		}
		if err != nil {
			return err
		}
		started = append(started, r)
		if err := r.address(clientMAC(0), workerMAC()); err != nil {
			return err
		}
		if !v.direct {
			if err := r.accessPort(); err != nil {
				return err
			}
		}
	}
	for round := -1; round < b.rounds; round++ { // the first does not count
		for _, r := range started {
			throughput, requests, err := r.talk(ctx)
			if err != nil {
				return fmt.Errorf("variant %s: %w", r.variant.name, err)
			}
			if round < 0 {
				continue
			}
			err = errors.Join(b.emit("tcp", r.variant.name, "Gbit/s", throughput), b.emit("rr", r.variant.name, "requests/s", requests))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// talk opens a connection, measures and closes it.
func (r *running) talk(ctx context.Context) (throughput, requests float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var listener net.Listener
	err = r.virt.do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", workerIP+":0")
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	defer listener.Close() //nolint:errcheck // it has served
	var conn net.Conn
	err = r.phys.do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close() //nolint:errcheck // it has served
	peer, err := listener.Accept()
	if err != nil {
		return 0, 0, err
	}
	defer peer.Close() //nolint:errcheck // it has served
	deadline, _ := ctx.Deadline()
	if err := errors.Join(conn.SetDeadline(deadline), peer.SetDeadline(deadline)); err != nil {
		return 0, 0, err
	}
	if requests, err = ask(conn, peer); err != nil {
		return 0, 0, fmt.Errorf("asking: %w", err)
	}
	if throughput, err = pour(conn, peer); err != nil {
		return 0, 0, fmt.Errorf("sending: %w", err)
	}
	return throughput, requests, nil
}

// ask returns how many requests a second are answered.
func ask(conn, peer net.Conn) (float64, error) {
	answered := make(chan error, 1)
	go func() {
		octet := make([]byte, 1)
		for {
			if _, err := io.ReadFull(peer, octet); err != nil {
				answered <- err
				return
			}
			if octet[0] == 0 { // the last
				answered <- nil
				return
			}
			if _, err := peer.Write(octet); err != nil {
				answered <- err
				return
			}
		}
	}()
	const slice = 100
	octet := []byte{1}
	var rates []float64
	for start := time.Now(); time.Since(start) < sending; {
		began := time.Now()
		for range slice {
			if _, err := conn.Write(octet); err != nil {
				return 0, err
			}
			if _, err := io.ReadFull(conn, octet); err != nil {
				return 0, err
			}
		}
		rates = append(rates, slice/time.Since(began).Seconds())
	}
	_, err := conn.Write([]byte{0})
	return median(rates), errors.Join(err, <-answered)
}

// pour returns the Gbit/s that arrive.
func pour(conn, peer net.Conn) (float64, error) {
	const slice = 4 << 20 // octets
	stop := make(chan struct{})
	poured := make(chan error, 1)
	go func() {
		buf := make([]byte, 1<<18)
		for {
			select {
			case <-stop:
				poured <- nil
				return
			default:
			}
			if _, err := conn.Write(buf); err != nil {
				poured <- err
				return
			}
		}
	}()
	var rates []float64
	for start := time.Now(); time.Since(start) < 2*sending; {
		began := time.Now()
		n, err := io.CopyN(io.Discard, onlyReader{peer}, slice)
		if err != nil {
			close(stop)
			return 0, errors.Join(err, <-poured)
		}
		rates = append(rates, float64(n)*8/1e9/time.Since(began).Seconds())
	}
	close(stop)
	go func() { _, _ = io.Copy(io.Discard, onlyReader{peer}) }() // until it is closed, so that the last write ends
	return median(rates), <-poured
}

// onlyReader hides the methods that would let io.Copy do something else than read.
type onlyReader struct{ io.Reader }
