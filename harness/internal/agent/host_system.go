package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// KernelHealth is what the kernel reports about its own errors. The first two only grow while the machine is up.
type KernelHealth struct {
	WarnCount uint64 `json:"warn_count"` // /sys/kernel/warn_count
	OopsCount uint64 `json:"oops_count"` // /sys/kernel/oops_count
	Tainted   uint64 `json:"tainted"`    // /proc/sys/kernel/tainted, a bit set
}

func (h *host) systemRoutes(mux *http.ServeMux) {
	handle(mux, "/kernel", func(context.Context, Nothing) (KernelHealth, error) { return readKernelHealth() })
	handle(mux, "/clock", func(context.Context, Nothing) (int64, error) { return time.Now().UnixNano(), nil })
}

// Clock is the time of the taps, in nanoseconds since 1970. Host only.
func (c *Client) Clock(ctx context.Context) (int64, error) {
	return call[Nothing, int64](ctx, c, "/clock", Nothing{})
}

// Kernel reads the kernel's warning counters, to be compared before and after. Host only.
func (c *Client) Kernel(ctx context.Context) (KernelHealth, error) {
	return call[Nothing, KernelHealth](ctx, c, "/kernel", Nothing{})
}

func readKernelHealth() (KernelHealth, error) {
	var health KernelHealth
	var errs []error
	for path, value := range map[string]*uint64{
		"/sys/kernel/warn_count":   &health.WarnCount,
		"/sys/kernel/oops_count":   &health.OopsCount,
		"/proc/sys/kernel/tainted": &health.Tainted,
	} {
		text, err := os.ReadFile(path)
		if err == nil {
			*value, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the kernel's health from %s: %w", path, err))
		}
	}
	return health, errors.Join(errs...)
}
