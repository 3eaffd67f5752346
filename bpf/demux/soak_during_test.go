package demux_test

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// during sends frames of every client, again and again, while change runs. Each may come
// in at the worker that its client had before or has after, and nowhere else.
func (s *soak) during(change func() string) string {
	type stream struct {
		client int
		seq    uint32
	}
	var streams []stream
	var frames [][]byte
	trunk := s.pickTrunk()
	if trunk != nil {
		for _, n := range s.clientNumbers() {
			s.seq++
			f := fromClient(n, tag(4000))
			f.Payload = soakPayload(s.seq)
			streams = append(streams, stream{n, s.seq})
			frames = append(frames, f.Bytes())
			s.allow(s.seq, s.clients[n])
		}
	}
	var stop atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for round := range 200 { // what comes in has to fit into the buffer of the capture
			if len(frames) == 0 || stop.Load() {
				return
			}
			for _, frame := range frames {
				// The trunk may go in between.
				_ = unix.Sendto(s.sender, frame, 0, &unix.SockaddrLinklayer{Ifindex: trunk.peer})
			}
			time.Sleep(time.Duration(200+20*round) * time.Microsecond)
		}
	}()
	defer func() { stop.Store(true); <-stopped }()
	s.reused = nil
	what := change()
	stop.Store(true)
	<-stopped
	for _, sent := range streams {
		s.allow(sent.seq, s.clients[sent.client])
		// Until the demux is told that an interface has gone, whoever has its index gets its frames.
		s.allowed[sent.seq] = append(s.allowed[sent.seq], s.reused...)
	}
	s.flush()
	s.receive(0)
	return what
}

// allow lets a frame come in at the worker, if it is there.
func (s *soak) allow(seq uint32, worker *soakDevice) {
	if worker != nil && worker.iface != nil {
		s.allowed[seq] = append(s.allowed[seq], worker.iface.peer)
	}
}

// flush returns when the programs have handled what was sent so far: each processor
// handles frames in the order in which they were sent on it.
func (s *soak) flush() {
	var all unix.CPUSet
	s.must(unix.SchedGetaffinity(0, &all), "asking for the processors")
	defer func() { s.must(unix.SchedSetaffinity(0, &all), "going back to all processors") }()
	for cpu, left := 0, all.Count(); left > 0; cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		left--
		var one unix.CPUSet
		one.Set(cpu)
		s.must(unix.SchedSetaffinity(0, &one), "going to processor %d", cpu)
		s.seq++
		f := fromClient(0)
		f.Payload = soakPayload(s.seq)
		s.allowed[s.seq] = []int{s.marker}
		s.transmit(s.marks, f.Bytes())
		s.await(s.seq, func() string { return "the mark of processor" })
		runtime.Gosched()
	}
}
