package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// duplex makes one stream of two.
type duplex struct {
	io.Reader
	io.WriteCloser
}

// pipes is a pair of os pipes, what a container's standard streams are.
func pipes(t *testing.T) (near, far duplex) {
	t.Helper()
	g := NewWithT(t)
	r1, w1, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	r2, w2, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		for _, f := range []*os.File{r1, w1, r2, w2} {
			f.Close()
		}
	})
	return duplex{r1, w2}, duplex{r2, w1}
}

// start serves routes over a pair of pipes. ended receives what serveStream returned.
func start(t *testing.T, routes func(*http.ServeMux)) (client *Client, ended chan error) {
	t.Helper()
	near, far := pipes(t)
	mux := http.NewServeMux()
	routes(mux)
	ended = make(chan error, 1)
	go func() {
		err := serveStream(context.Background(), newStreamConn(far, far, nil), mux, time.Minute)
		far.Close() // what the end of the process does
		ended <- err
	}()
	client = Dial(near)
	t.Cleanup(func() {
		client.Close()
		<-ended
	})
	return client, ended
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestManyCallsShareOneStream(t *testing.T) {
	g := NewWithT(t)
	const calls = 300
	// Every call waits for all of them to have arrived: only truly concurrent ones can end.
	var arrived sync.WaitGroup
	arrived.Add(calls)
	client, _ := start(t, func(mux *http.ServeMux) {
		handle(mux, "/double", func(_ context.Context, n int) (int, error) {
			arrived.Done()
			arrived.Wait()
			return 2 * n, nil
		})
	})
	ctx := deadline(t, longest)
	results := make(chan error, calls)
	for i := range calls {
		go func() {
			got, err := call[int, int](ctx, client, "/double", i)
			if err == nil && got != 2*i {
				err = fmt.Errorf("twice %d is %d", i, got)
			}
			results <- err
		}()
	}
	for range calls {
		g.Expect(<-results).To(Succeed())
	}
}

func TestCancellingACallCancelsItsHandler(t *testing.T) {
	g := NewWithT(t)
	begun, cancelled := make(chan struct{}), make(chan error, 1)
	client, _ := start(t, func(mux *http.ServeMux) {
		handle(mux, "/wait", func(ctx context.Context, _ Nothing) (Nothing, error) {
			close(begun)
			<-ctx.Done()
			cancelled <- ctx.Err()
			return Nothing{}, ctx.Err()
		})
		handle(mux, "/ping", func(context.Context, Nothing) (string, error) { return "pong", nil })
	})
	ctx, cancel := context.WithCancel(deadline(t, longest))
	result := make(chan error, 1)
	go func() {
		_, err := call[Nothing, Nothing](ctx, client, "/wait", Nothing{})
		result <- err
	}()
	g.Eventually(begun).Should(BeClosed())
	cancel()
	g.Eventually(result).Should(Receive(MatchError(context.Canceled)))
	g.Eventually(cancelled).Should(Receive(MatchError(context.Canceled)))
	g.Expect(call[Nothing, string](deadline(t, longest), client, "/ping", Nothing{})).To(Equal("pong"), "the other calls go on")
}

func TestTheEndOfTheStreamEndsTheAgent(t *testing.T) {
	g := NewWithT(t)
	begun := make(chan struct{})
	cleanedUp := make(chan struct{})
	client, ended := start(t, func(mux *http.ServeMux) {
		handle(mux, "/wait", func(ctx context.Context, _ Nothing) (Nothing, error) {
			close(begun)
			<-ctx.Done()
			<-cleanedUp
			return Nothing{}, nil
		})
	})
	result := make(chan error, 1)
	go func() {
		_, err := call[Nothing, Nothing](deadline(t, longest), client, "/wait", Nothing{})
		result <- err
	}()
	g.Eventually(begun).Should(BeClosed())
	g.Expect(client.Close()).To(Succeed())
	g.Consistently(ended, "100ms").ShouldNot(Receive(), "what the call had begun is stopped first")
	close(cleanedUp)
	var err error
	g.Eventually(ended).Should(Receive(&err))
	ended <- err
	g.Expect(err).NotTo(HaveOccurred(), "the end of the stream is no error")
	g.Eventually(result).Should(Receive(MatchError(ContainSubstring("the agent's stream has ended"))))
	g.Expect(client.Done()).To(BeClosed())
}

func TestTheEndOfTheAgentIsNoticed(t *testing.T) {
	g := NewWithT(t)
	near, far := net.Pipe()
	read := make(chan error, 1)
	go func() { // the agent dies without having said a word: its container could not start it
		_, err := far.Read(make([]byte, 1))
		read <- errors.Join(err, far.Close())
	}()
	client := Dial(near)
	defer client.Close()
	result := make(chan error, 1)
	go func() {
		_, err := client.Footprint(deadline(t, longest))
		result <- err
	}()
	g.Expect(<-read).To(Succeed())
	var callError error
	g.Eventually(result).Should(Receive(&callError))
	var streamError *StreamError
	g.Expect(errors.As(callError, &streamError)).To(BeTrue(), "%v", callError)
	g.Expect(callError).To(MatchError(ContainSubstring("its log (standard error) says why")))
	g.Eventually(client.Done()).Should(BeClosed())
	_, err := client.Footprint(deadline(t, longest))
	g.Expect(errors.As(err, &streamError)).To(BeTrue(), "a later call says the same: %v", err)
}

func TestServeEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	_, far := pipes(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveStream(ctx, newStreamConn(far, far, nil), http.NewServeMux(), time.Minute) }()
	g.Consistently(ended, "50ms").ShouldNot(Receive())
	cancel()
	g.Eventually(ended).Should(Receive(BeNil()))
}

func TestErrorsKeepTheirTextAndTheirReport(t *testing.T) {
	g := NewWithT(t)
	text := "attaching to \"eth1\": not supported\n\tadvice: use --attach clsact; see €5 \x01"
	client, _ := start(t, func(mux *http.ServeMux) {
		handle(mux, "/partly", func(context.Context, Nothing) (map[string]int, error) {
			return map[string]int{"sent": 7}, errors.New(text)
		})
		handleStream(mux, "/stream", func(_ context.Context, _ Nothing, e *emitter[int, string]) (string, error) {
			e.Ready(netip.MustParseAddrPort("[fe80::1]:80"))
			e.Event(1)
			return "as far as it got", errors.New(text)
		})
		mux.HandleFunc("POST /body", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "half of it")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
	})
	ctx := deadline(t, longest)

	report, err := call[Nothing, map[string]int](ctx, client, "/partly", Nothing{})
	g.Expect(err).To(MatchError(text))
	g.Expect(report).To(HaveKeyWithValue("sent", 7))

	var address netip.AddrPort
	var events []int
	account, err := callStream[Nothing, int, string](ctx, client, "/stream", Nothing{}, nil,
		func(a netip.AddrPort) { address = a }, func(e int) error { events = append(events, e); return nil })
	g.Expect(err).To(MatchError(text))
	g.Expect(account).To(Equal("as far as it got"))
	g.Expect(address.String()).To(Equal("[fe80::1]:80"))
	g.Expect(events).To(Equal([]int{1}))

	body, err := open(ctx, client, "/body", Nothing{}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	content, err := io.ReadAll(body)
	g.Expect(string(content)).To(Equal("half of it"))
	g.Expect(err).To(HaveOccurred(), "it broke off")

	_, err = call[Nothing, Nothing](ctx, client, "/no/such/route", Nothing{})
	g.Expect(err).To(MatchError(And(ContainSubstring("/no/such/route"), ContainSubstring("404"))))
	_, err = call[string, map[string]int](ctx, client, "/partly", "not what it takes")
	g.Expect(err).To(MatchError(ContainSubstring("reading the request to /partly")))
}

func TestBigBodiesBothWays(t *testing.T) {
	g := NewWithT(t)
	client, _ := start(t, func(mux *http.ServeMux) {
		handle(mux, "/digest", func(_ context.Context, content []byte) ([32]byte, error) { return sha256.Sum256(content), nil })
		mux.HandleFunc("POST /much", func(w http.ResponseWriter, _ *http.Request) {
			io.Copy(w, io.LimitReader(countReader{}, 32<<20))
		})
	})
	ctx := deadline(t, longest)
	content, err := io.ReadAll(io.LimitReader(countReader{}, 8<<20))
	g.Expect(err).NotTo(HaveOccurred())
	begin := time.Now()
	g.Expect(call[[]byte, [32]byte](ctx, client, "/digest", content)).To(Equal(sha256.Sum256(content)))
	t.Logf("8 MiB up, as JSON, in %v", time.Since(begin))

	begin = time.Now()
	body, err := open(ctx, client, "/much", Nothing{}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	digest := sha256.New()
	n, err := io.Copy(digest, body)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(Equal(int64(32 << 20)))
	want := sha256.New()
	io.Copy(want, io.LimitReader(countReader{}, 32<<20))
	g.Expect(digest.Sum(nil)).To(Equal(want.Sum(nil)))
	t.Logf("32 MiB down in %v", time.Since(begin))
}

// countReader never ends.
type countReader struct{}

func (countReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return len(p), nil
}

func TestAStreamNobodyReadsStallsNoOtherCall(t *testing.T) {
	g := NewWithT(t)
	client, _ := start(t, func(mux *http.ServeMux) {
		handle(mux, "/ping", func(context.Context, Nothing) (string, error) { return "pong", nil })
		mux.HandleFunc("POST /endless", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, countReader{}) })
	})
	ctx := deadline(t, longest)
	for range 20 { // 20 windows of 4 MiB
		body, err := open(ctx, client, "/endless", Nothing{}, nil)
		g.Expect(err).NotTo(HaveOccurred())
		defer body.Close()
	}
	for range 50 {
		g.Expect(call[Nothing, string](ctx, client, "/ping", Nothing{})).To(Equal("pong"))
	}
}

func TestAServerRunsUntilClosed(t *testing.T) {
	g := NewWithT(t)
	stopped := make(chan struct{}, 2)
	client, _ := start(t, func(mux *http.ServeMux) {
		handleStream(mux, "/serve", func(ctx context.Context, n int, e *emitter[int, int]) (int, error) {
			if n < 0 {
				return 0, errors.New("listening: address in use")
			}
			e.Ready(netip.MustParseAddrPort("10.0.0.1:80"))
			for i := range n {
				e.Event(i)
			}
			if n == 3 {
				return n, errors.New("the listener broke")
			}
			<-ctx.Done()
			stopped <- struct{}{}
			return n, nil
		})
	})
	ctx := deadline(t, longest)
	events := make(chan int, 100)
	server, err := startServer[int, int, int](ctx, client, "/serve", 5, func(e int) error { events <- e; return nil })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(server.Address().String()).To(Equal("10.0.0.1:80"))
	for i := range 5 {
		g.Eventually(events).Should(Receive(Equal(i)))
	}
	g.Consistently(server.Done(), "20ms").ShouldNot(BeClosed())
	g.Expect(server.Close()).To(Succeed())
	g.Expect(stopped).To(Receive(), "the far end had stopped when Close returned")
	g.Expect(server.Close()).To(Succeed(), "a second time does no harm")

	_, err = startServer[int, int, int](ctx, client, "/serve", -1, nil)
	g.Expect(err).To(MatchError("listening: address in use"))
	server, err = startServer[int, int, int](ctx, client, "/serve", 3, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(server.Done()).Should(BeClosed())
	g.Expect(server.Close()).To(MatchError("the listener broke"))

	ended, cancel := context.WithCancel(ctx)
	server, err = startServer[int, int, int](ended, client, "/serve", 0, nil)
	g.Expect(err).NotTo(HaveOccurred())
	cancel()
	g.Eventually(server.Done()).Should(BeClosed())
	g.Eventually(stopped).Should(Receive())
}

func TestABadRequestEndsNothing(t *testing.T) {
	g := NewWithT(t)
	client, _ := start(t, func(mux *http.ServeMux) {
		handle(mux, "/length", func(_ context.Context, s []string) (int, error) { return len(s), nil })
		handle(mux, "/panic", func(context.Context, Nothing) (int, error) { panic("a bug") })
	})
	ctx := deadline(t, longest)
	for _, body := range []string{"", "{", "null x", `{"a":`, strings.Repeat("[", 20000), "\x00\xff", `"text"`, "[1,2]"} {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/length", strings.NewReader(body))
		g.Expect(err).NotTo(HaveOccurred())
		response, err := client.RoundTripper().RoundTrip(r)
		g.Expect(err).NotTo(HaveOccurred())
		var answer line[Nothing, int]
		g.Expect(json.NewDecoder(response.Body).Decode(&answer)).To(Succeed(), "%q", body)
		if answer.Type == "error" {
			g.Expect(answer.Error).To(HavePrefix("reading the request to /length: "))
		} else {
			g.Expect(body).To(Equal("null x"), "only this one begins with a whole value")
		}
		response.Body.Close()
	}
	_, err := call[Nothing, int](ctx, client, "/panic", Nothing{})
	g.Expect(err).To(MatchError(And(HavePrefix("the agent has a bug in /panic: a bug"), ContainSubstring("transport_test.go"))))
	g.Expect(call[[]string, int](ctx, client, "/length", []string{"a"})).To(Equal(1), "the agent lives on")
}

func TestGarbageInsteadOfHTTPEndsTheAgent(t *testing.T) {
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x00\x01\x02", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 100), ""} {
		g := NewWithT(t)
		near, far := pipes(t)
		ended := make(chan error, 1)
		go func() {
			ended <- serveStream(context.Background(), newStreamConn(far, far, nil), http.NewServeMux(), time.Minute)
		}()
		go io.Copy(io.Discard, near)
		_, err := io.Copy(near, bytes.NewReader([]byte(garbage)))
		g.Expect(err).NotTo(HaveOccurred())
		near.Close()
		g.Eventually(ended).Should(Receive(), "%q", garbage)
	}
}
