package control_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/bpf/demux/control/metrics"
)

const patience = 20 * time.Second

// serve starts a server for plane on a real socket and returns the socket's path, and a function that
// stops it and returns what Serve returned.
func serve(t *testing.T, plane control.Dataplane) (string, func() error) {
	t.Helper()
	g := NewWithT(t)
	socket := filepath.Join(t.TempDir(), "control.sock")
	listener, err := control.Listen(t.Context(), socket)
	g.Expect(err).NotTo(HaveOccurred())
	options := control.ServerOptions{
		Dataplane: plane, Names: fakeNames{},
		Version: "v1", Kernel: "6.1.0", BPFFS: "/sys/fs/bpf/x",
		Following: func() control.Following { return control.Following{} },
		Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	options.Metrics = metrics.Handler(options)
	server := control.NewServer(options)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-served
	}
	t.Cleanup(func() { _ = stop() })
	return socket, stop
}

func dial(t *testing.T, socket string) *control.Client {
	client := control.Dial(socket)
	t.Cleanup(client.Close)
	return client
}

func TestStatusNamesWhatIsAttached(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(8)
	socket, _ := serve(t, plane)
	client := dial(t, socket)
	g.Expect(client.Assign(t.Context(), "02:00:00:00:00:01", "w0")).To(Succeed())

	status, err := client.Status(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(status.Started).To(BeTemporally("~", time.Now(), patience))
	g.Expect(status.UptimeSeconds).To(BeNumerically("<", 60))
	status.Started, status.PID, status.UptimeSeconds = time.Time{}, 0, 0
	g.Expect(status).To(Equal(control.Status{
		Version: "v1", Kernel: "6.1.0", BPFFS: "/sys/fs/bpf/x", Untagged: "pass", Unknown: "w1", GroupLimit: 100, AgeSeconds: 300, Capacity: 8, Assigned: 1,
		Problems: []string{"the pins in /sys/fs/bpf/x have gone: somebody has removed or unmounted them. When this process ends, the demux " +
			"ends with it, and the next knows no location, counter or assignment that is not configured; restart it at a quiet time"},
		Trunks: []control.Interface{{Name: "eth1", Index: 2, Attach: "tcx", State: "up", MTU: 1500, Problems: []string{
			"eth1 is not promiscuous: frames to MACs other than its own may not get in; ip link set eth1 promisc on",
			"eth1 has an XDP program, which gets each frame before the demux: what it drops or redirects is counted nowhere here; ip link set eth1 xdp off",
			"eth1 has large receive offload on: the frames it joins do not fit through the other end, and are counted as one; ethtool -K eth1 lro off"}}},
		Workers: []control.Interface{
			{Name: "w0", Index: 11, Attach: "tcx", State: "up", MTU: 1400, Peer: true, Problems: []string{
				"w0 has MTU 1400 and trunk eth1 has 1500: longer frames are dropped as too_long; raise it at both ends of its link"}}, {Name: "w1", State: "absent"},
		},
	}))
}

func TestStatusShowsAnMTUThatDiffersEitherWay(t *testing.T) {
	g := NewWithT(t)
	for mtu, problem := range map[int][]string{0: nil, 1500: nil,
		1501: {"w0 has MTU 1501 and trunk eth1 has 1500: longer frames of the worker are dropped there as too_long; raise it at both ends of the trunk"},
	} {
		plane := newFakePlane(8)
		plane.workerMTU = mtu
		socket, _ := serve(t, plane)
		status, err := dial(t, socket).Status(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(status.Workers[0].Problems).To(Equal(problem), "%d", mtu)
	}
}

func TestAssignmentsShowWhereAClientIs(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(8)
	socket, _ := serve(t, plane)
	client := dial(t, socket)
	g.Expect(client.Assign(t.Context(), "02-00-00-00-00-0A", "w0")).To(Succeed())
	g.Expect(client.Assign(t.Context(), "02:00:00:00:00:01", "w9")).To(Succeed())
	g.Expect(client.Assignments(t.Context())).To(Equal([]control.Assignment{
		{Assignment: given("02:00:00:00:00:01", "w9")},
		{Assignment: given(macA, "w0"), WorkerIndex: 11},
	}))

	plane.see(demux.MAC{2, 0, 0, 0, 0, 10}, demux.Location{Trunk: 2, Protocol: 0x88a8, TCI: 5<<13 | 1<<12 | 17})
	g.Expect(client.Reassign(t.Context(), "02:00:00:00:00:0a", "w9")).To(Succeed())
	g.Expect(client.Unassign(t.Context(), "02:00:00:00:00:01")).To(Succeed())
	g.Expect(client.Assignments(t.Context())).To(Equal([]control.Assignment{
		{Assignment: given(macA, "w9"), Location: &control.Location{
			Trunk: "eth1", TrunkIndex: 2, Protocol: "802.1ad", VID: 17, PCP: 5, DEI: true,
		}},
	}))
}

func TestCountersKeepAll64Bits(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(8)
	socket, _ := serve(t, plane)
	client := dial(t, socket)
	g.Expect(client.Assign(t.Context(), "02:00:00:00:00:01", "w0")).To(Succeed())
	plane.see(demux.MAC{2, 0, 0, 0, 0, 1}, demux.Location{Trunk: 3, Protocol: 0x8100, TCI: 0})

	g.Expect(client.Counters(t.Context())).To(Equal(control.Counters{
		Clients: []control.ClientCounters{{
			MAC: parse("02:00:00:00:00:01"), Worker: "w0",
			Rx: control.Tally{Packets: 1, Bytes: 64}, Tx: control.Tally{Packets: 1 << 60, Bytes: 1<<64 - 1},
			Location: &control.Location{Trunk: "ifindex 3 (gone)", TrunkIndex: 3, Protocol: "802.1Q"},
		}},
		Workers: []control.WorkerCounters{{Worker: "w0", Flooded: control.Tally{Packets: 3, Bytes: 192}}},
		Drops:   []control.DropCounter{{Reason: demux.DropReason(0).String(), Tally: control.Tally{Packets: 7, Bytes: 448}}},
		Passed:  control.Tally{Packets: 5, Bytes: 300}, UnknownForwarded: control.Tally{Packets: 6, Bytes: 360},
		EventsLost: 2,
	}))
}

func TestErrorsKeepTheirMeaningAcrossTheSocket(t *testing.T) {
	plane := newFakePlane(1)
	socket, _ := serve(t, plane)
	client := dial(t, socket)
	NewWithT(t).Expect(client.Assign(t.Context(), "02:00:00:00:00:01", "w0")).To(Succeed())
	for name, c := range map[string]struct {
		ask  func() error
		want error
		code control.Code
		text string
	}{
		"a full table": {func() error { return client.Assign(t.Context(), "02:00:00:00:00:02", "w0") },
			demux.ErrFull, "full", "assigning 02:00:00:00:00:02 to w0: "},
		"another assignment": {func() error { return client.Assign(t.Context(), "02:00:00:00:00:01", "w1") },
			demux.ErrAssigned, "already_assigned", "already assigned to w0"},
		"an unknown MAC": {func() error { return client.Unassign(t.Context(), "02:00:00:00:00:02") },
			demux.ErrNotAssigned, "not_assigned", "not assigned"},
		"moving an unknown MAC": {func() error { return client.Reassign(t.Context(), "02:00:00:00:00:02", "w0") },
			demux.ErrNotAssigned, "not_assigned", "not assigned"},
		"an unknown worker": {func() error { return client.Reassign(t.Context(), "02:00:00:00:00:01", "w7") },
			demux.ErrUnknownInterface, "unknown_interface", "w7"},
		"a group address": {func() error { return client.Assign(t.Context(), "01:00:5e:00:00:01", "w0") },
			demux.ErrBadMAC, "bad_mac", "01:00:5e:00:00:01"},
		"the zero address": {func() error { return client.Unassign(t.Context(), "00:00:00:00:00:00") },
			demux.ErrBadMAC, "bad_mac", "zero"},
		"a path for a MAC": {func() error { return client.Unassign(t.Context(), "../../etc/passwd\x00%zz") },
			demux.ErrBadMAC, "bad_mac", "etc/passwd"},
		"no MAC": {func() error { return client.Unassign(t.Context(), "") },
			control.ErrBadRequest, "bad_request", "no DELETE /v1/assignments/"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := c.ask()
			g.Expect(err).To(MatchError(c.want))
			var answer *control.Error
			g.Expect(errors.As(err, &answer)).To(BeTrue())
			g.Expect(answer.Code).To(Equal(c.code))
			g.Expect(err).To(MatchError(ContainSubstring(c.text)))
		})
	}
}

func TestAFailingDataplaneIsAnInternalError(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(1)
	socket, _ := serve(t, plane)
	plane.fail(errors.New("map lookup: EPERM"))
	client := dial(t, socket)
	for _, err := range []error{
		second(client.Assignments(t.Context())), second(client.Counters(t.Context())),
	} {
		var answer *control.Error
		g.Expect(errors.As(err, &answer)).To(BeTrue())
		g.Expect(answer.Code).To(Equal(control.CodeInternal))
		g.Expect(err).To(MatchError(HaveSuffix("map lookup: EPERM")))
	}
}

func second[T any](_ T, err error) error { return err }

// through returns a client of the socket that keeps no connection.
func through(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// raw sends a request as it is and returns status line and body.
func raw(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	g := NewWithT(t)
	request, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
	g.Expect(err).NotTo(HaveOccurred())
	response, err := through(socket).Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	var text bytes.Buffer
	_, err = io.Copy(&text, response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	return response.StatusCode, text.String()
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	const one = "/v1/assignments/02:00:00:00:00:01"
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		text               string
	}{
		"unknown field":   {"PUT", one, `{"worker":"w0","wroker":"w1"}`, 400, `unknown field \"wroker\"`},
		"no JSON":         {"PUT", one, `worker=w0`, 400, "bad_request"},
		"empty":           {"PUT", one, ``, 400, "bad_request"},
		"two values":      {"PUT", one, `{"worker":"w0"}{"worker":"w9"}`, 400, "more than one"},
		"wrong type":      {"PUT", one, `{"worker":7}`, 400, "bad_request"},
		"null":            {"PUT", one, `null`, 404, "unknown_interface"},
		"no worker":       {"PUT", one, `{}`, 404, "unknown_interface"},
		"huge":            {"PUT", one, `{"worker":"` + strings.Repeat("x", 9<<20) + `"}`, 400, "the body has more than"},
		"bad MAC":         {"PUT", "/v1/assignments/02:00", `{"worker":"w0"}`, 400, "bad_mac"},
		"20-octet MAC":    {"PUT", "/v1/assignments/" + strings.Repeat("00:", 19) + "00", `{"worker":"w0"}`, 400, "bad_mac"},
		"escaped bytes":   {"DELETE", "/v1/assignments/%00%ff%2f", ``, 400, "bad_mac"},
		"unknown route":   {"GET", "/v2/status", ``, 400, "no GET /v2/status here"},
		"method mismatch": {"POST", "/v1/status", ``, 400, "no POST /v1/status here"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			status, text := raw(t, socket, c.method, c.path, c.body)
			g.Expect(text).To(ContainSubstring(c.text))
			g.Expect(status).To(Equal(c.status))
			g.Expect(plane.Assignments()).To(BeEmpty())
		})
	}
}

func TestTheJSONIsSnakeCase(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	g.Expect(body(raw(t, socket, "PUT", "/v1/assignments/02:00:00:00:00:01", `{"worker":"w0"}`))).To(BeEmpty())
	plane.see(demux.MAC{2, 0, 0, 0, 0, 1}, demux.Location{Trunk: 2, Protocol: 0x8100, TCI: 12})

	g.Expect(body(raw(t, socket, "GET", "/v1/assignments", ""))).To(MatchJSON(`{"assignments":[
		{"mac":"02:00:00:00:00:01","worker":"w0","worker_index":11,
		 "location":{"trunk":"eth1","trunk_index":2,"protocol":"802.1Q","vid":12,"pcp":0,"dei":false}}]}`))
	g.Expect(body(raw(t, socket, "GET", "/v1/counters", ""))).To(MatchJSON(fmt.Sprintf(`{
		"clients":[{"mac":"02:00:00:00:00:01","worker":"w0","rx":{"packets":1,"bytes":64},
			"tx":{"packets":1152921504606846976,"bytes":18446744073709551615},
			"location":{"trunk":"eth1","trunk_index":2,"protocol":"802.1Q","vid":12,"pcp":0,"dei":false}}],
		"workers":[{"worker":"w0","flooded":{"packets":3,"bytes":192}}],
		"drops":[{"reason":%q,"packets":7,"bytes":448}],
		"passed":{"packets":5,"bytes":300},"unknown_passed":{"packets":0,"bytes":0},"unknown_forwarded":{"packets":6,"bytes":360},"events_lost":2,"places_lost":0}`, demux.DropReason(0))))
	g.Expect(body(raw(t, socket, "DELETE", "/v1/assignments/02:00:00:00:00:02", ""))).To(
		MatchJSON(`{"code":"not_assigned","message":"02:00:00:00:00:02: not assigned"}`))
}

// A body may be as long as all assignments of the capacity, with their places, indented.
func TestABodyIsBoundedByTheCapacity(t *testing.T) {
	const longest = 4*512 + 1<<16*128
	for _, c := range []struct {
		length, status int
		text           string
	}{
		{longest, 200, `"assigned":[{"mac":"02:00:00:00:00:01"`},
		{longest + 1, 400, fmt.Sprintf("the body has more than %d octets, and 4 assignments with all places that a capacity of 4 has take no more", longest)},
		{20 << 20, 400, "the body has more than"},
	} {
		t.Run(fmt.Sprint(c.length), func(t *testing.T) {
			g := NewWithT(t)
			plane := newFakePlane(4)
			socket, _ := serve(t, plane)
			const begin, end = `{"assignments":[`, `{"mac":"02:00:00:00:00:01","worker":"w0"}]}`
			status, text := raw(t, socket, "PUT", "/v1/assignments", begin+strings.Repeat(" ", c.length-len(begin)-len(end))+end)
			g.Expect(text).To(ContainSubstring(c.text))
			g.Expect(status).To(Equal(c.status))
		})
	}
}

// pipes is a listener in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error { close(p); return nil }

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestAnIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ctx, cancel := context.WithCancel(t.Context())
		listener, served := make(pipes), make(chan error)
		server := control.NewServer(control.ServerOptions{Dataplane: newFakePlane(4), Names: fakeNames{}})
		go func() { served <- server.Serve(ctx, listener) }()
		conn, far := net.Pipe()
		listener <- far
		_, err := io.WriteString(conn, "GET /v1/assignments HTTP/1.1\r\nHost: x\r\n\r\n")
		g.Expect(err).NotTo(HaveOccurred())
		answers := bufio.NewReader(conn)
		answer, err := http.ReadResponse(answers, nil)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = io.Copy(io.Discard, answer.Body)
		g.Expect(errors.Join(err, answer.Body.Close())).To(Succeed())
		began := time.Now()
		g.Expect(conn.SetReadDeadline(began.Add(time.Hour))).To(Succeed())
		_, err = answers.ReadByte()
		g.Expect(err).To(MatchError(io.EOF))
		g.Expect(time.Since(began)).To(Equal(2 * time.Minute)) // by the clock of the test
		cancel()
		g.Expect(errors.Join(<-served, conn.Close())).To(Succeed())
	})
}

func body(_ int, text string) string { return text }

// A body that does not come to its end keeps no connection, and the connection serves on when it does.
func TestBodyThatDoesNotComeIsGivenUp(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	socket, _ := serve(t, newFakePlane(8))
	conn, err := net.Dial("unix", socket)
	g.Expect(err).NotTo(HaveOccurred())
	defer conn.Close() //nolint:errcheck // only read
	g.Expect(conn.SetDeadline(time.Now().Add(patience))).To(Succeed())
	answers := bufio.NewReader(conn)
	put := func(length int) int {
		_, err := fmt.Fprintf(conn, "PUT /v1/assignments/02:00:00:00:00:01 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{\"worker\":\"w0\"}", length)
		g.Expect(err).NotTo(HaveOccurred())
		answer, err := http.ReadResponse(answers, nil)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = io.Copy(io.Discard, answer.Body)
		g.Expect(errors.Join(err, answer.Body.Close())).To(Succeed())
		return answer.StatusCode
	}
	g.Expect(put(len(`{"worker":"w0"}`))).To(Equal(http.StatusNoContent))
	g.Expect(put(100)).To(Equal(http.StatusBadRequest))
}
