package traffic

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

var (
	anyV4 = netip.MustParseAddrPort("127.0.0.1:0")
	anyV6 = netip.MustParseAddrPort("[::1]:0")
)

// patience is how long to wait for what must happen: the machine may be busy.
const patience = 30 * time.Second

// serve runs a server of this package until the test ends or stop is called, which returns its report.
func serve[Request, Event, Report any](
	t *testing.T, run func(context.Context, Request, func(netip.AddrPort), func(Event)) (Report, error), request Request, event func(Event),
) (address netip.AddrPort, stop func() Report) {
	t.Helper()
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan netip.AddrPort, 1), make(chan struct{})
	var report Report
	var err error
	go func() {
		defer close(ended)
		report, err = run(ctx, request, func(a netip.AddrPort) { ready <- a }, event)
	}()
	stop = func() Report {
		cancel()
		g.Eventually(ended, patience).Should(BeClosed())
		g.Expect(err).NotTo(HaveOccurred())
		return report
	}
	t.Cleanup(func() { stop() })
	g.Eventually(ready, patience).Should(Receive(&address))
	return address, stop
}

// freePort is a port nobody listened on a moment ago.
func freePort(t *testing.T, network string) netip.AddrPort {
	t.Helper()
	g := NewWithT(t)
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		g.Expect(err).NotTo(HaveOccurred())
		defer c.Close()
		return addrPort(c.LocalAddr())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer l.Close()
	return addrPort(l.Addr())
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestHTTPServerNamesItself(t *testing.T) {
	for _, listen := range []netip.AddrPort{anyV4, anyV6} {
		g := NewWithT(t)
		seen := make(chan HTTPSeen, 100)
		address, stop := serve(t, ServeHTTP, HTTPServeRequest{Listen: listen, Name: "w7"}, func(s HTTPSeen) { seen <- s })
		report, err := HTTPGet(within(t, patience), HTTPGetRequest{URL: "http://" + address.String() + "/path?q", Count: 8})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(report.Replies).To(HaveLen(8))
		for _, reply := range report.Replies {
			g.Expect(reply).To(Equal(HTTPReply{Status: http.StatusOK, Server: "w7", Body: "w7\n"}))
			var s HTTPSeen
			g.Expect(seen).To(Receive(&s))
			g.Expect(s).To(And(HaveField("Method", "GET"), HaveField("Path", "/path"), HaveField("Local", address), HaveField("Octets", 3)))
		}
		g.Expect(stop().Requests).To(Equal(uint64(8)))
		_, err = HTTPGet(within(t, patience), HTTPGetRequest{URL: "http://" + address.String(), Count: 1})
		g.Expect(err).To(MatchError(ContainSubstring("connection refused")), "nothing listens any more")
	}
}

func TestHTTPCancellationAndBadURLs(t *testing.T) {
	g := NewWithT(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	g.Expect(err).NotTo(HaveOccurred())
	defer silent.Close()
	_, err = HTTPGet(within(t, 30*time.Millisecond), HTTPGetRequest{URL: "http://" + silent.Addr().String(), Count: 1})
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	for _, bad := range []string{"", "http://", "::", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"} {
		_, err = HTTPGet(within(t, patience), HTTPGetRequest{URL: bad, Count: 1})
		g.Expect(err).To(HaveOccurred(), "%q", bad)
	}
}

// streams starts a server that TCP can talk to.
func streams(t *testing.T, listen netip.AddrPort) (address netip.AddrPort, stop func() HTTPServeReport) {
	t.Helper()
	return serve(t, ServeHTTP, HTTPServeRequest{Listen: listen, Name: "w1"}, func(HTTPSeen) {})
}

func TestTCPModes(t *testing.T) {
	for _, listen := range []netip.AddrPort{anyV4, anyV6} {
		for _, mode := range []TCPMode{Download, Upload, Echo} {
			for _, octets := range []uint64{0, 1, 64 << 10, 3<<20 + 5} {
				t.Run(fmt.Sprintf("%s of %d octets at %s", mode, octets, listen.Addr()), func(t *testing.T) {
					g := NewWithT(t)
					address, stop := streams(t, listen)
					var last TCPProgress
					report, err := TCP(within(t, patience), TCPRequest{Remote: address, Mode: mode, Octets: octets, Seed: 5},
						func(p TCPProgress) { last = p })
					g.Expect(err).NotTo(HaveOccurred())
					up, down := octets, octets
					if mode == Download {
						up = 0
					}
					if mode == Upload {
						down = 0
					}
					g.Expect(report).To(And(HaveField("Sent", up), HaveField("Received", down), HaveField("Server", "w1"), HaveField("Local.Addr()", address.Addr())))
					if down > 0 {
						g.Expect(last.Octets).To(And(BeNumerically(">", 0), BeNumerically("<=", octets)))
					}
					g.Expect(stop().Requests).To(Equal(uint64(1)))
				})
			}
		}
	}
}

func TestTCPFromAChosenPort(t *testing.T) {
	g := NewWithT(t)
	address, _ := streams(t, anyV4)
	local := freePort(t, "tcp")
	report, err := TCP(within(t, patience), TCPRequest{Remote: address, Local: local, Mode: Echo, Octets: 1000}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Local).To(Equal(local))
}

func TestTCPRatePacesTheSender(t *testing.T) {
	g := NewWithT(t)
	address, _ := streams(t, anyV4)
	for _, mode := range []TCPMode{Download, Upload} {
		report, err := TCP(within(t, patience), TCPRequest{Remote: address, Mode: mode, Octets: 2 << 20, Rate: 4 << 20}, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(report.Elapsed).To(BeNumerically(">", 250*time.Millisecond), "%s: 2 MiB at 4 MiB/s take half a second, less a burst at the beginning", mode)
	}
}

func TestTCPDownloadCancelledInTheMiddle(t *testing.T) {
	g := NewWithT(t)
	address, _ := streams(t, anyV4)
	ctx, cancel := context.WithCancel(within(t, patience))
	report, err := TCP(ctx, TCPRequest{Remote: address, Mode: Download, Octets: 1 << 40}, func(TCPProgress) { cancel() })
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(report.Received).To(BeNumerically(">", 0), "the report counts what came before")
}

func TestTCPServerEndsItsConnections(t *testing.T) {
	g := NewWithT(t)
	address, stop := streams(t, anyV4)
	moving, result := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		_, err := TCP(within(t, patience), TCPRequest{Remote: address, Mode: Download, Octets: 1 << 40}, func(TCPProgress) {
			select {
			case moving <- struct{}{}:
			default:
			}
		})
		result <- err
	}()
	g.Eventually(moving, patience).Should(Receive())
	g.Expect(stop().Requests).To(Equal(uint64(1)))
	g.Eventually(result, patience).Should(Receive(HaveOccurred()))
}

// TestTCPFindsDamage puts a path in between that gets one octet wrong, loses one or adds one, on the way to the client or to the server.
func TestTCPFindsDamage(t *testing.T) {
	const octets = 100000
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"a wrong octet":    {func(b []byte) []byte { b[77777] ^= 1; return b }, "the stream is damaged"},
		"a missing octet":  {func(b []byte) []byte { return b[:octets-1] }, "ended after 99999 of 100000 octets"},
		"one octet more":   {func(b []byte) []byte { return append(b, 0) }, "octets too many"},
		"two octets apart": {func(b []byte) []byte { return append(b[:500], b[501:]...) }, "the stream is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			stream := make([]byte, octets)
			fillPattern(stream, 9, 0)
			stream = c.change(stream)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", verdictTrailer)
				w.Write(stream)
				w.Header().Set(verdictTrailer, verdictFine)
			}))
			defer server.Close()
			_, err := TCP(within(t, patience), TCPRequest{Remote: addrPort(server.Listener.Addr()), Mode: Download, Octets: octets, Seed: 9}, nil)
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))

			for _, mode := range []TCPMode{Upload, Echo} {
				w := httptest.NewRecorder()
				answerStream(fullDuplex{w}, httptest.NewRequest(http.MethodPost, fmt.Sprintf("/?mode=%s&seed=9&octets=%d&rate=0", mode, octets), bytes.NewReader(stream)))
				g.Expect(w.Result().Trailer.Get(verdictTrailer)).To(ContainSubstring(c.want), "the server's verdict")
			}
		})
	}
}

// fullDuplex is a recorder that says it can write while the request is read.
type fullDuplex struct{ *httptest.ResponseRecorder }

func (fullDuplex) EnableFullDuplex() error { return nil }

func TestTCPReportsTheServersVerdict(t *testing.T) {
	g := NewWithT(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", verdictTrailer)
		io.Copy(io.Discard, r.Body)
		w.Header().Set(verdictTrailer, "octet 3 is wrong")
	}))
	defer server.Close()
	request := TCPRequest{Remote: addrPort(server.Listener.Addr()), Mode: Upload, Octets: 10}
	_, err := TCP(within(t, patience), request, nil)
	g.Expect(err).To(MatchError(ContainSubstring("the server says: octet 3 is wrong")))
	mute := httptest.NewServer(http.NotFoundHandler())
	defer mute.Close()
	request.Remote = addrPort(mute.Listener.Addr())
	_, err = TCP(within(t, patience), request, nil)
	g.Expect(err).To(MatchError(ContainSubstring("404")))
}

func TestUDPExchanges(t *testing.T) {
	for _, listen := range []netip.AddrPort{anyV4, anyV6} {
		for _, c := range []UDPRequest{
			{Count: 1, Size: 64}, {Count: 50, Size: 1400}, {Count: 1, Size: 16}, {Count: 2, Size: 65000}, {Count: 50, Size: 1200, Segments: 20},
		} {
			t.Run(fmt.Sprintf("%d of %d octets to %s", c.Count, c.Size, listen.Addr()), func(t *testing.T) {
				g := NewWithT(t)
				address, stop := serve(t, ServeUDP, UDPServeRequest{Listen: listen}, func(struct{}) {})
				c.Remote, c.Seed, c.Timeout = address, 11, 5*time.Second
				report, err := UDP(within(t, patience), c)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(report).To(Equal(UDPReport{Local: report.Local, Sent: c.Count, Received: c.Count}))
				g.Expect(stop()).To(Equal(UDPServeReport{Datagrams: uint64(c.Count), Octets: uint64(c.Count * c.Size)}))
			})
		}
	}
}

// unreliable is an echo server with ideas of its own.
func unreliable(t *testing.T, answer func(number uint64, datagram []byte) [][]byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(anyV4))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, peer, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			for _, d := range answer(binary.BigEndian.Uint64(buffer), buffer[:n]) {
				conn.WriteToUDPAddrPort(d, peer)
			}
		}
	}()
	return addrPort(conn.LocalAddr())
}

func TestUDPCountsLossAndDuplicates(t *testing.T) {
	g := NewWithT(t)
	address := unreliable(t, func(number uint64, d []byte) [][]byte {
		switch number {
		case 2, 5:
			return nil
		case 3:
			return [][]byte{d, d}
		}
		return [][]byte{d}
	})
	local := freePort(t, "udp")
	report, err := UDP(within(t, patience), UDPRequest{Remote: address, Local: local, Count: 7, Size: 64})
	g.Expect(err).NotTo(HaveOccurred(), "loss is counted, no error")
	g.Expect(report).To(And(HaveField("Sent", 7), HaveField("Received", 5), HaveField("Duplicates", 1), HaveField("Lost", []int{2, 5}), HaveField("Local", local)))
}

func TestUDPFindsDamage(t *testing.T) {
	g := NewWithT(t)
	for want, answer := range map[string]func(uint64, []byte) [][]byte{
		"octet 40 is":     func(_ uint64, d []byte) [][]byte { d = bytes.Clone(d); d[40] ^= 1; return [][]byte{d} },
		"63 octets":       func(_ uint64, d []byte) [][]byte { return [][]byte{d[:63]} },
		"was not sent":    func(n uint64, d []byte) [][]byte { d = bytes.Clone(d); d[0] = 1; return [][]byte{d} },
		"shorter than an": func(_ uint64, d []byte) [][]byte { return [][]byte{d[:3]} },
	} {
		_, err := UDP(within(t, patience), UDPRequest{Remote: unreliable(t, answer), Count: 3, Size: 64})
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	_, err := UDP(within(t, patience), UDPRequest{Remote: freePort(t, "udp"), Count: 2, Size: 64})
	g.Expect(err).To(MatchError(ContainSubstring("nobody listens on")))
	ctx, cancel := context.WithCancel(within(t, patience))
	cancel()
	_, err = UDP(ctx, UDPRequest{Remote: unreliable(t, func(uint64, []byte) [][]byte { return nil }), Count: 1, Size: 64})
	g.Expect(err).To(MatchError(context.Canceled))
}

func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	g := NewWithT(t)
	ctx := within(t, patience)
	to := netip.MustParseAddrPort("127.0.0.1:9")
	for _, r := range []UDPRequest{
		{Count: 1, Size: 64}, {Remote: to, Size: 64}, {Remote: to, Count: 1, Size: 15}, {Remote: to, Count: 1, Size: 70000}, {Remote: to, Count: 1, Size: 64, Timeout: -1},
		{Remote: to, Count: 1, Size: 1200, Segments: 60},
	} {
		_, err := UDP(ctx, r)
		g.Expect(err).To(MatchError(HavePrefix("exchanging datagrams with")), "%+v", r)
	}
	for _, r := range []TCPRequest{{}, {Mode: Download}, {Remote: to}, {Remote: to, Mode: "sideways"}} {
		_, err := TCP(ctx, r, nil)
		g.Expect(err).To(HaveOccurred(), "%+v", r)
	}
	local := netip.MustParseAddr("127.0.0.1")
	for _, r := range []PingRequest{
		{Count: 1}, {Destination: local}, {Destination: local, Count: 1, Interval: -1}, {Destination: local, Count: 1, Timeout: -1},
	} {
		_, err := Ping(ctx, r)
		g.Expect(err).To(MatchError(HavePrefix("pinging")), "%+v", r)
	}
	_, err := ServeHTTP(ctx, HTTPServeRequest{Listen: netip.MustParseAddrPort("192.0.2.1:80")}, nil, nil)
	g.Expect(err).To(MatchError(ContainSubstring("listening on TCP 192.0.2.1:80")))
	_, err = ServeUDP(ctx, UDPServeRequest{Listen: netip.MustParseAddrPort("192.0.2.1:80")}, nil, nil)
	g.Expect(err).To(MatchError(ContainSubstring("listening on UDP 192.0.2.1:80")))
}
