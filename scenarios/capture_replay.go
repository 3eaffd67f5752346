package scenarios

import (
	"context"
	"slices"

	"github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
)

// CaptureReplay sends the frames of capture files, the project's or one's own: any EtherType, any
// destination, frames with tags of their own, and malformed ones.
func CaptureReplay() Scenario {
	return Scenario{
		Name:    "capture replay",
		Summary: "Every frame of every capture file reaches the worker octet by octet, and comes back.",
		Cases: []Case{{
			Text: "carries every captured frame to the worker and back",
			Topology: func(v Variant) harness.Topology {
				t := rack(v, 2)
				t.MTU = 1500
				for _, frame := range v.Captures {
					t.MTU = max(t.MTU, len(frame.Data)-harness.EthernetHeader)
				}
				return t
			},
			Run: captureReplay,
		}},
	}
}

func captureReplay(ctx context.Context, r *Run) {
	r.Expect(r.Captures).NotTo(gomega.BeEmpty(), "frames captured")
	client := r.Lab.Topology.Clients[0]
	worker := r.WorkerOf(client)
	up, down := make([][]byte, len(r.Captures)), make([][]byte, len(r.Captures))
	for i, frame := range r.Captures {
		up[i] = readdressed(frame.Data, nil, &client.MAC)
		down[i] = readdressed(frame.Data, &client.MAC, &worker.MAC)
	}
	const rate = 20_000 // frames/s
	window := r.Introduce(ctx)
	r.Step("the client sends each frame, whatever its destination")
	r.Send(ctx, window, client.Name, harness.Batch{Name: "captures from " + client.Name, ID: r.Seed.BatchID("up"), Raw: up, Rate: rate})
	r.Close(ctx, window)
	r.Step("the worker sends each frame back to the client")
	window = r.OpenWindow(ctx)
	r.Send(ctx, window, worker.Name, harness.Batch{Name: "captures from " + worker.Name, ID: r.Seed.BatchID("down"), Raw: down, Rate: rate})
	r.Close(ctx, window)
}

// readdressed returns a copy of frame with other addresses, nil meaning the
// one it has.
func readdressed(frame []byte, destination, source *harness.MAC) []byte {
	frame = slices.Clone(frame)
	if destination != nil {
		copy(frame[0:6], destination[:])
	}
	if source != nil {
		copy(frame[6:12], source[:])
	}
	return frame
}
