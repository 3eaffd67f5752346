package traffic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

// Ping sends echo requests at their interval and returns once every reply is there, or Timeout after the last request. A missing reply is no
// error. It needs CAP_NET_RAW.
func Ping(ctx context.Context, request PingRequest) (PingReport, error) {
	doing := fmt.Sprintf("pinging %s", request.Destination)
	if request.Interval == 0 {
		request.Interval = 10 * time.Millisecond
	}
	if request.Timeout == 0 {
		request.Timeout = time.Second
	}
	if !request.Destination.IsValid() || request.Count < 1 || request.Interval < 0 || request.Timeout < 0 {
		return PingReport{}, fmt.Errorf("%s: it takes a destination, a count of at least 1 (got %d), and an interval (%v) and timeout (%v) that are not negative",
			doing, request.Count, request.Interval, request.Timeout)
	}
	pinger := probing.New(request.Destination.String())
	pinger.SetPrivileged(true)
	pinger.SetLogger(probing.NoopLogger{})
	pinger.Count, pinger.Interval = request.Count, request.Interval
	pinger.Timeout = time.Duration(request.Count-1)*request.Interval + request.Timeout
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
