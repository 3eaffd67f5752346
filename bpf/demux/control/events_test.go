package control_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func moved(n int) demux.Event {
	return demux.Event{
		Type: demux.EventMoved,
		MAC:  demux.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)},
		From: demux.Location{Trunk: 2, Protocol: 0x8100, TCI: 12},
		To:   demux.Location{Trunk: 2, Protocol: 0x8100, TCI: 0},
		Time: time.Unix(1_700_000_000, 123_456_789).UTC(),
	}
}

// watch reads events in the background. It returns once subscribed.
func watch(ctx context.Context, t *testing.T, client *control.Client) (<-chan control.Event, <-chan error) {
	t.Helper()
	events, ended, ready := make(chan control.Event), make(chan error, 1), make(chan struct{})
	go func() {
		ended <- client.Watch(ctx, func() { close(ready) }, func(e control.Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	NewWithT(t).Eventually(ready, patience).Should(BeClosed())
	return events, ended
}

func TestEveryWatcherSeesEveryEvent(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	ctx, cancel := context.WithCancel(t.Context())
	client := dial(t, socket)
	one, oneEnded := watch(ctx, t, client)
	two, twoEnded := watch(ctx, t, client)
	learned := demux.Event{Type: demux.EventLearned, MAC: demux.MAC{2, 0, 0, 0, 0, 9}, To: moved(1).From, Time: moved(1).Time}
	go func() {
		plane.events <- moved(1)
		plane.events <- learned
	}()
	at := func(vid uint16) *control.Location {
		return &control.Location{Trunk: "eth1", TrunkIndex: 2, Protocol: "802.1Q", VID: vid}
	}
	for _, events := range []<-chan control.Event{one, two} {
		g.Eventually(events, patience).Should(Receive(Equal(control.Event{
			Type: "moved", MAC: parse("02:00:00:00:00:01"), From: at(12), To: at(0), Time: moved(1).Time,
		})))
		g.Eventually(events, patience).Should(Receive(Equal(control.Event{
			Type: "learned", MAC: parse("02:00:00:00:00:09"), To: at(12), Time: moved(1).Time,
		})))
	}
	cancel()
	g.Eventually(oneEnded, patience).Should(Receive(MatchError(context.Canceled)))
	g.Eventually(twoEnded, patience).Should(Receive(MatchError(context.Canceled)))
}

func TestAHandlerThatFailsEndsItsWatch(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	full := errors.New("my disk is full")
	err := dial(t, socket).Watch(t.Context(), func() { go func() { plane.events <- moved(1) }() },
		func(control.Event) error { return full })
	g.Expect(err).To(MatchError(full))
}

// TestASlowReaderHoldsUpNobody has one reader that reads nothing until the server has let go of it.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	// The slow reader's socket buffer is small, so that what the test must send stays small.
	slow := control.NewClient(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			err = conn.(*net.UnixConn).SetReadBuffer(1)
		}
		return conn, err
	}}, "http://x")
	resume := make(chan struct{})
	subscribed := make(chan struct{})
	slowEnded := make(chan error, 1)
	got := 0
	go func() {
		slowEnded <- slow.Watch(t.Context(), func() { close(subscribed); <-resume }, func(control.Event) error { got++; return nil })
	}()
	g.Eventually(subscribed, patience).Should(BeClosed())
	quick, _ := watch(t.Context(), t, dial(t, socket))

	// More than the backlog and every buffer on the way hold, few at a time for the quick reader, and all within what the server waits for a reader.
	const total, few = 8_000, 50
	for n := 0; n < total; n += few {
		for i := range few {
			plane.events <- moved(n + i)
		}
		for i := range few {
			select {
			case e := <-quick:
				if want := moved(n + i).MAC.String(); e.MAC.String() != want {
					t.Fatalf("event %d is of %s, want %s", n+i, e.MAC, want)
				}
			case <-time.After(patience):
				t.Fatalf("event %d did not come", n+i)
			}
		}
	}
	close(resume)
	var err error
	g.Eventually(slowEnded, patience).Should(Receive(&err))
	g.Expect(err).To(MatchError(control.ErrSlowReader))
	g.Expect(err).To(MatchError(ContainSubstring("connect again")))
	g.Expect(got).To(And(BeNumerically(">", 0), BeNumerically("<", total)))
}

func TestWatchersAreToldThatTheServerStops(t *testing.T) {
	g := NewWithT(t)
	socket, stop := serve(t, newFakePlane(4))
	client := dial(t, socket)
	_, ended := watch(t.Context(), t, client)
	g.Expect(stop()).To(Succeed())
	g.Eventually(ended, patience).Should(Receive(MatchError(control.ErrStopping)))
	g.Expect(socket).NotTo(BeAnExistingFile())
	g.Expect(second(client.Status(t.Context()))).To(MatchError(ContainSubstring("no `vlandemux run` serves there")))
}

func TestWatchersAreToldThatEventsBroke(t *testing.T) {
	g := NewWithT(t)
	plane := newFakePlane(4)
	socket, _ := serve(t, plane)
	client := dial(t, socket)
	_, ended := watch(t.Context(), t, client)
	close(plane.events)
	g.Eventually(ended, patience).Should(Receive(MatchError(ContainSubstring("the ring buffer broke"))))
	// The rest of the API goes on, and who comes later is told as well.
	g.Expect(second(client.Status(t.Context()))).To(Succeed())
	err := client.Watch(t.Context(), func() {}, func(control.Event) error { return nil })
	g.Expect(err).To(MatchError(ContainSubstring("the ring buffer broke")))
}
