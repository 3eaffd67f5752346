package traffic

import (
	"errors"
	"fmt"
	"time"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// SendRequest asks for crafted frames out of one interface.
type SendRequest struct {
	// Interface is the name of the interface the frames leave on.
	Interface string `json:"interface"`
	// Batches are sent at the same time, each from a socket of its own.
	Batches []probe.Batch `json:"batches"`
}

// SendReport counts what a SendRequest handed to the kernel, batch by batch in the order asked.
type SendReport struct {
	Batches []BatchReport `json:"batches"`
}

// BatchReport counts one batch. Only what the kernel took is counted.
type BatchReport struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`
	// Packets are what was handed to the kernel, a GSO super-packet counted once.
	Packets uint64 `json:"packets"`
	// Frames are wire frames, a GSO super-packet counted as the segments it stands for.
	Frames uint64 `json:"frames"`
	// Octets are those of Frames, from destination MAC to end of payload, tags included, without FCS.
	Octets uint64 `json:"octets"`
	// Retries says how often the kernel had no room (ENOBUFS or EAGAIN) and the sender waited.
	Retries uint64 `json:"retries"`
	// Elapsed is the time from the first frame to the last.
	Elapsed time.Duration `json:"elapsed"`
	// Error says why the batch stopped early; empty when every frame was sent.
	Error string `json:"error,omitempty"`
}

// Frames is the number of wire frames of all batches.
func (r SendReport) Frames() uint64 {
	var sum uint64
	for _, b := range r.Batches {
		sum += b.Frames
	}
	return sum
}

// Octets is the number of octets of all wire frames, tags included, without FCS.
func (r SendReport) Octets() uint64 {
	var sum uint64
	for _, b := range r.Batches {
		sum += b.Octets
	}
	return sum
}

// Err joins the errors of the batches which stopped early; nil when all frames were sent.
func (r SendReport) Err() error {
	var errs []error
	for _, b := range r.Batches {
		if b.Error != "" {
			errs = append(errs, fmt.Errorf("batch %q (ID %d) stopped after %d frames: %s", b.Name, b.ID, b.Frames, b.Error))
		}
	}
	return errors.Join(errs...)
}
