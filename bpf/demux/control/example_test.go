package control_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// serveExample serves a dataplane without a kernel, in the place of "vlandemux run --socket …".
func serveExample() (socket string, stop func(), err error) {
	folder, err := os.MkdirTemp("", "vlandemux")
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(folder, "control.sock")
	listener, err := control.Listen(context.Background(), socket)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(folder))
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- control.NewServer(control.ServerOptions{Dataplane: newFakePlane(2), Names: fakeNames{}}).Serve(ctx, listener)
	}()
	return socket, func() { cancel(); <-served; _ = os.RemoveAll(folder) }, nil
}

// A program assigns a client to a worker, and learns why the demux refuses another assignment.
func ExampleClient() {
	socket, stop, err := serveExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	ctx := context.Background()
	client := control.Dial(socket)
	defer client.Close()
	if err := client.Assign(ctx, "02:00:00:00:00:01", "w0", demux.Place{Trunk: "eth1", VID: 12}); err != nil {
		fmt.Println(err)
		return
	}
	if err := client.Assign(ctx, "02:00:00:00:00:01", "w1"); errors.Is(err, demux.ErrAssigned) {
		fmt.Println("it has a worker")
	}
	assignments, err := client.Assignments(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range assignments {
		fmt.Println(a.MAC, a.Worker, a.Places)
	}
	// Output:
	// it has a worker
	// 02:00:00:00:00:01 w0 [eth1:12]
}
