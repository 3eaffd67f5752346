package harness_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vlandemux/vlandemux/harness"
)

func TestMain(m *testing.M) {
	harness.StandGuard()
	os.Exit(m.Run())
}

// pair is a lab of one client and one worker.
func pair() harness.Topology {
	return harness.Topology{
		Clients: []harness.Client{{
			Name: "c0", MAC: harness.MAC{2, 0, 0, 0, 0, 1}, Place: harness.Place{VLAN: harness.VLAN{Protocol: harness.Dot1Q, VID: 7}}, Worker: "w0",
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")},
		}},
		Workers: []harness.Worker{{
			Name: "w0", MAC: harness.MAC{2, 0, 0, 0, 1, 1}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.2/24")},
		}},
	}
}

// A window is opened, frames are sent, and the window is closed: the verdict says
// whether each frame was where it had to be. It needs a Docker engine.
func Example() {
	run := func(ctx context.Context) (err error) {
		lab, err := harness.Start(ctx, pair())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lab.Close()) }()
		window, err := lab.OpenWindow(ctx)
		if err != nil {
			return err
		}
		client, worker := lab.Topology.Clients[0], lab.Topology.Workers[0]
		batch := harness.Batch{
			Name: "hello", ID: lab.Seed.BatchID("hello"), Count: 10, Source: client.MAC, Destination: worker.MAC, Size: harness.MinFrame,
		}
		if err := window.Send(ctx, "c0", batch); err != nil {
			return err
		}
		verdict, err := window.Close(ctx)
		if err != nil {
			return err
		}
		fmt.Println(verdict.Sent.Packets, "frames sent, what was wrong:", verdict.Err())
		counters, err := lab.Demux().Counters(ctx)
		if err != nil {
			return err
		}
		fmt.Println("the demux counted", counters.Clients[0].Rx.Packets, "from the client")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 10 frames sent, what was wrong: <nil>
	// the demux counted 10 from the client
}

// Clients and workers have sockets: what those send is checked like all frames,
// once the window allows for them.
func ExampleNode() {
	run := func(ctx context.Context) (err error) {
		lab, err := harness.Start(ctx, pair())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lab.Close()) }()
		server, err := lab.Worker("w0").ServeHTTP(ctx, harness.HTTPServeRequest{Listen: netip.MustParseAddrPort("192.168.1.2:80"), Name: "w0"}, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		window, err := lab.OpenWindow(ctx)
		if err != nil {
			return err
		}
		window.AllowSockets()
		report, err := lab.Client("c0").HTTPGet(ctx, harness.HTTPGetRequest{URL: "http://192.168.1.2/", Count: 1})
		if err != nil {
			return err
		}
		verdict, err := window.Close(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%q from %s, what was wrong: %v\n", report.Replies[0].Body, report.Replies[0].Server, verdict.Err())
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// "w0\n" from w0, what was wrong: <nil>
}

// Every mistake of a topology is named before anything is started.
func ExampleTopology_Validate() {
	topology := pair()
	topology.Clients[0].VLAN.VID = 4095
	topology.Clients[0].Worker = "w1"
	fmt.Println(topology.Validate())
	// Output:
	// the topology has 2 mistakes:
	// client c0: VLAN 4095 is not within 1 to 4094
	// client c0: worker "w1" does not exist
}

// What is drawn for one purpose does not shift what is drawn for another.
func ExampleSeed_Rand() {
	seed := harness.NewSeed(42, "MAC move keeps a TCP connection alive")
	fmt.Println(seed, seed.Rand("vlans").Perm(4), seed.Rand("ports").Perm(4))
	// Output:
	// 452dd0e806841316 [0 1 3 2] [0 1 2 3]
}

// The project's own captures hold frames of many protocols.
func ExampleReadCaptures() {
	frames, _, err := harness.ReadCaptures(harness.EmbeddedCaptures())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, frame %d: %d octets\n", frames[0].File, frames[0].Number, len(frames[0].Data))
	// Output:
	// arp.pcap, frame 1: 60 octets
}
