package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

// PingRequest asks for ICMP or ICMPv6 echo requests.
type PingRequest struct {
	Destination netip.Addr `json:"destination"`
	// Count is the number of requests, at least 1.
	Count int `json:"count"`
	// Interval is the time between two requests; 0 means 10 ms.
	Interval time.Duration `json:"interval,omitempty"`
	// Timeout is how long to wait for the missing replies after the last request; 0 means 1 s.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// PingReport counts requests and replies. A reply that never came is no error: Received tells.
type PingReport struct {
	Sent       int `json:"sent"`
	Received   int `json:"received"`
	Duplicates int `json:"duplicates"`
}

// Ping sends echo requests at their interval and returns once every reply is there, or Timeout after the last request. A missing reply is no
// error. It needs CAP_NET_RAW.
func Ping(ctx context.Context, request PingRequest) (PingReport, error) {
	doing := fmt.Sprintf("pinging %s", request.Destination)
	request.Interval, request.Timeout = cmp.Or(request.Interval, 10*time.Millisecond), cmp.Or(request.Timeout, time.Second)
	if !request.Destination.IsValid() || request.Count < 1 || request.Interval < 0 || request.Timeout < 0 {
		return PingReport{}, fmt.Errorf("%s: it takes a destination, a count of at least 1 (got %d), and an interval (%v) and timeout (%v) that are not negative",
			doing, request.Count, request.Interval, request.Timeout)
	}
	pinger := probing.New(request.Destination.String())
	pinger.SetPrivileged(true)
	pinger.SetLogger(probing.NoopLogger{})
	pinger.Count, pinger.Interval = request.Count, request.Interval
	// The library's own timeout counts from the first request, and a busy machine sends the last one late.
	giveUp := time.AfterFunc(math.MaxInt64, pinger.Stop)
	defer giveUp.Stop()
	pinger.OnSend = func(sent *probing.Packet) {
		if sent.Seq == request.Count-1 {
			giveUp.Reset(request.Timeout)
		}
	}
	err := pinger.RunWithContext(ctx)
	counted := pinger.Statistics()
	report := PingReport{Sent: counted.PacketsSent, Received: counted.PacketsRecv, Duplicates: counted.PacketsRecvDuplicates}
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("opening a raw socket: %w; the container needs CAP_NET_RAW", err)
	}
	if err != nil {
		return report, fmt.Errorf("%s: %w", doing, explain(ctx, err))
	}
	return report, nil
}

func pingKind() Kind { return simpleKind("ping", Ping) }

// Ping sends echo requests and waits for the replies. A missing reply is no error: see the report.
func (s Sockets) Ping(ctx context.Context, request PingRequest) (PingReport, error) {
	return do[PingReport, struct{}](ctx, s, "ping", request, nil)
}
