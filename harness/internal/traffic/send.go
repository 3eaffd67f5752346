package traffic

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness/internal/probe"
)

// SendRequest asks for crafted frames out of one interface.
type SendRequest struct {
	// Interface is the name of the interface the frames leave on.
	Interface string `json:"interface"`
	// Batches are sent at the same time, each from a socket of its own.
	Batches []probe.Batch `json:"batches"`
	// Every sends each batch and then, until the call is told to end, as many packets more, again and again: those that follow
	// the batch's own. Each turn has the batch's rate, and begins no sooner than this after the one before. Optional; not for raw frames.
	Every time.Duration `json:"every,omitempty"`
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

// Sender holds a request's sockets, one for each batch. They belong to the network namespace of the thread that opened them,
// wherever Send is called. Not safe for concurrent use.
type Sender struct {
	request SendRequest
	sockets []*packetSocket
}

// Send is OpenSender, Sender.Send and Sender.Close in the calling thread's network namespace.
func Send(ctx context.Context, request SendRequest) (SendReport, error) {
	sender, err := OpenSender(request)
	if err != nil {
		return SendReport{}, err
	}
	defer sender.Close()
	return sender.Send(ctx)
}

// OpenSender validates the request and opens its sockets in the calling thread's network namespace. It needs CAP_NET_RAW there.
func OpenSender(request SendRequest) (*Sender, error) {
	if len(request.Batches) == 0 {
		return nil, errors.New("sending frames: the request holds no batch")
	}
	var errs []error
	for i := range request.Batches {
		errs = append(errs, request.Batches[i].Validate())
		if request.Every > 0 && len(request.Batches[i].Raw) > 0 {
			errs = append(errs, fmt.Errorf("batch %q: raw frames would be sent twice", request.Batches[i].Name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("sending frames: %w", err)
	}
	s := &Sender{request: request}
	for i := range request.Batches {
		socket, err := openPacketSocket(request.Interface, request.Batches[i].GSO != nil)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.sockets = append(s.sockets, socket)
	}
	return s, nil
}

// Close gives the sockets up without waiting for their end: the kernel takes 8 to 16 ms for each, until no processor can still be using it.
func (s *Sender) Close() {
	for _, socket := range s.sockets {
		go socket.Close() //nolint:errcheck // nothing is buffered in user space
	}
	s.sockets = nil
}

// Send sends the batches side by side and returns when each is sent or has failed; its error is that of the report. To be called once.
func (s *Sender) Send(ctx context.Context) (SendReport, error) {
	report := SendReport{Batches: make([]BatchReport, len(s.sockets))}
	var sending sync.WaitGroup
	for i, socket := range s.sockets {
		sending.Go(func() {
			b := &s.request.Batches[i]
			report.Batches[i] = BatchReport{Name: b.Name, ID: b.ID}
			unpin, err := pin(b.ID)
			if err != nil {
				report.Batches[i].Error = err.Error()
				return
			}
			defer unpin()
			if s.request.Every > 0 {
				sendEndless(ctx, socket, b, s.request.Every, &report.Batches[i])
			} else {
				sendBatch(ctx, socket, b, 0, &report.Batches[i])
			}
		})
	}
	sending.Wait()
	if err := report.Err(); err != nil {
		return report, fmt.Errorf("sending frames out of %s: %w", s.request.Interface, err)
	}
	return report, nil
}

// pin keeps the goroutine on one processor until unpin: frames of one sender on two processors can overtake each other in the kernel. After an error, or
// where unpin fails, its thread ends with it.
func pin(number uint32) (unpin func(), err error) {
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("asking which processors may be used: %w", err)
	}
	left := int(number) % allowed.Count()
	for cpu := 0; ; cpu++ {
		if !allowed.IsSet(cpu) {
			continue
		}
		if left == 0 {
			one.Set(cpu)
			break
		}
		left--
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, fmt.Errorf("keeping a sender on processor %v: %w", one, err)
	}
	return func() {
		if unix.SchedSetaffinity(0, &allowed) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}

// backoff is how long to leave a full queue alone: ENOBUFS, unlike EAGAIN, has no event that tells when there is room again.
const backoff = time.Millisecond

// sendEndless sends the batch once at least, and goes on with a turn every so often until ctx ends, which it looks at between turns.
func sendEndless(ctx context.Context, socket *packetSocket, b *probe.Batch, every time.Duration, report *BatchReport) {
	whole, begin := context.WithoutCancel(ctx), time.Now()
	turn := time.NewTicker(every)
	defer turn.Stop()
	for first := 0; report.Error == "" && (first == 0 || ctx.Err() == nil); first += b.Packets() {
		sendBatch(whole, socket, b, first, report)
		report.Elapsed = time.Since(begin)
		select {
		case <-turn.C:
		case <-ctx.Done():
		}
	}
}

// sendBatch sends as many packets as the batch has, from index first on.
func sendBatch(ctx context.Context, socket *packetSocket, b *probe.Batch, first int, report *BatchReport) {
	stop := context.AfterFunc(ctx, socket.interrupt)
	defer stop()
	pace := newPacer(b.Rate)
	begin := time.Now()
	for next, total := 0, b.Packets(); next < total; {
		due, err := pace.due(ctx, next)
		if err != nil {
			report.Error = err.Error()
			break
		}
		socket.fill(b, first+next, min(due, total-next))
		sent, err := socket.flush(ctx)
		for i := range sent {
			report.Packets++
			frames, octets := socket.onWire(b, first+next+i, i)
			report.Frames += frames
			report.Octets += octets
		}
		next += sent
		report.Elapsed = time.Since(begin)
		if err == nil {
			continue
		}
		if err = socket.retry(ctx, err, report); err != nil {
			report.Error = err.Error()
			break
		}
	}
}

// pacer says how many packets may leave now.
type pacer struct {
	rate  int
	begin time.Time
}

func newPacer(rate int) *pacer { return &pacer{rate: rate, begin: time.Now()} }

// due waits until the packet with index next may leave, and gives how many may.
func (p *pacer) due(ctx context.Context, next int) (int, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if p.rate == 0 {
		return vectorLength, nil
	}
	at := time.Duration(float64(next) / float64(p.rate) * float64(time.Second))
	if wait := at - time.Since(p.begin); wait > 0 {
		if err := pause(ctx, wait); err != nil {
			return 0, err
		}
	}
	allowed := int(time.Since(p.begin).Seconds()*float64(p.rate)) + 1
	return max(1, min(allowed-next, vectorLength)), nil
}

// pause returns after d, or earlier with the reason ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func sendKind() Kind { return simpleKind("send", Send) }

// SendUntil sends a request with Every until over is closed, each batch once at least.
func (s Sockets) SendUntil(ctx context.Context, over <-chan struct{}, request SendRequest) (SendReport, error) {
	text, err := s.agent.DoUntil(ctx, over, "send", request)
	return reported[SendReport]("send", text, err)
}

// Send sends crafted frames. The report counts what was sent, also when err is not nil.
func (s Sockets) Send(ctx context.Context, request SendRequest) (SendReport, error) {
	return do[SendReport, struct{}](ctx, s, "send", request, nil)
}
