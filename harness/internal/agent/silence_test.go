package agent

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestAnAgentThatNobodySpeaksToEnds(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // and empty settings
	for _, said := range []string{"", preface} {
		g := NewWithT(t)
		near, far := pipes(t) // stays open
		ended := make(chan error, 1)
		go func() {
			ended <- serveStream(context.Background(), newStreamConn(far, far, nil), http.NewServeMux(), 20*time.Millisecond)
		}()
		go io.Copy(io.Discard, near)
		_, err := io.WriteString(near, said)
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(ended).Should(Receive(), "%q", said)
	}
}

func TestAnIdleAgentIsAskedAndStays(t *testing.T) {
	g := NewWithT(t)
	near, far := pipes(t)
	mux := http.NewServeMux()
	asked := make(chan struct{})
	watch := &pingReader{Reader: far, enough: asked}
	ended := make(chan error, 1)
	go func() {
		ended <- serveStream(context.Background(), newStreamConn(watch, far, nil), mux, time.Second)
	}()
	client := Dial(near)
	defer client.Close()
	g.Eventually(asked).Should(BeClosed(), "answers to its pings")
	g.Expect(ended).NotTo(Receive())
}

// pingReader closes enough once it has read two answers to pings: who asks a second time has taken the first.
type pingReader struct {
	io.Reader
	answers int
	enough  chan struct{}
}

func (r *pingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if bytes.Contains(p[:n], []byte("\x00\x00\x08\x06\x01")) { // a PING frame of 8 octets with the flag ACK
		if r.answers++; r.answers == 2 {
			close(r.enough)
		}
	}
	return n, err
}
