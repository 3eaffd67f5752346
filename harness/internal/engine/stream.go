package engine

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/vlandemux/vlandemux/harness/internal/tail"
)

// drainTimeout is how long an engine may take to send the rest of what a container wrote, once the container is gone.
const drainTimeout = 5 * time.Second

// logLimit is how much of a container's stderr is kept, in octets.
const logLimit = 64 << 10

// stream is a container's attached stdin and stdout; stderr goes to a log.
type stream struct {
	conn   types.HijackedResponse
	stdout *io.PipeReader
	log    *tail.Buffer
	ended  chan struct{} // closed when the engine has closed its side and everything is copied

	closeStdin func() error
}

var _ io.ReadWriteCloser = (*stream)(nil)

// newStream logs stderr, and stdout too if nobody is to read it.
func newStream(conn types.HijackedResponse, stderr io.Writer, logStdout bool) *stream {
	stdout, sink := io.Pipe()
	s := &stream{conn: conn, stdout: stdout, log: tail.New(logLimit), ended: make(chan struct{})}
	s.closeStdin = sync.OnceValue(func() error {
		// Closed twice, or closed by an engine whose container is gone: there is no stdin any more, which is what was asked for.
		if err := conn.CloseWrite(); err != nil && !isGone(err) {
			return err
		}
		return nil
	})
	logs := io.Writer(s.log)
	if stderr != nil {
		logs = io.MultiWriter(s.log, stderr)
	}
	out := io.Writer(&lossyPipe{sink})
	if logStdout {
		out = logs
	}
	go func() {
		defer close(s.ended)
		_, err := stdcopy.StdCopy(out, logs, conn.Reader)
		_ = sink.CloseWithError(err) // a nil error reads as io.EOF; never fails
	}()
	return s
}

// Read reads the container's stdout.
func (s *stream) Read(p []byte) (int, error) { return s.stdout.Read(p) }

// Write writes to the container's stdin.
func (s *stream) Write(p []byte) (int, error) { return s.conn.Conn.Write(p) }

// Close ends the container's stdin. What the container still writes on stdout is thrown away; its stderr is still logged.
func (s *stream) Close() error {
	return errors.Join(s.closeStdin(), s.stdout.Close())
}

// drain waits for the container's last output, which the engine may still be sending after it has removed the container.
func (s *stream) drain() {
	_ = s.stdout.Close() // or an unread stdout would hold up stderr; never fails
	timeout := time.NewTimer(drainTimeout)
	defer timeout.Stop()
	select {
	case <-s.ended:
	case <-timeout.C:
	}
}

// release gives the connection back, unread output or not.
func (s *stream) release() {
	_ = s.stdout.Close() // never fails
	s.conn.Close()
	<-s.ended
}

// lossyPipe writes to a pipe for as long as it has a reader. Without it, a closed reader would end the copy and the log with it.
type lossyPipe struct{ *io.PipeWriter }

func (w *lossyPipe) Write(p []byte) (int, error) {
	n, err := w.PipeWriter.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		return len(p), nil
	}
	return n, err
}
