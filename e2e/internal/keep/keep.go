// Package keep holds a lab up when its spec has ended, for people to look into it.
package keep

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// Wish is which labs are kept, and for how long at most. The zero value keeps none.
type Wish struct {
	When string // "failure" or "always"
	For  time.Duration
}

// FromEnvironment reads KEEP and KEEP_FOR, half an hour by default.
func FromEnvironment() (Wish, error) {
	w := Wish{When: os.Getenv("KEEP")}
	if w.When != "" && w.When != "failure" && w.When != "always" {
		return Wish{}, fmt.Errorf("KEEP=%s: it is failure or always", w.When)
	}
	var err error
	if w.For, err = time.ParseDuration(cmp.Or(os.Getenv("KEEP_FOR"), "30m")); err != nil || w.For <= 0 {
		return Wish{}, fmt.Errorf("KEEP_FOR=%s: it is a time such as 90s or 2h", os.Getenv("KEEP_FOR"))
	}
	return w, nil
}

// Any tells whether labs are kept at all.
func (w Wish) Any() bool { return w.When != "" }

// Of tells whether the lab of a spec is kept.
func (w Wish) Of(failed bool) bool { return w.When == "always" || w.When == "failure" && failed }

// Wait returns at Enter on the terminal, nil if there is none, when ctx ends, or when the time is over, and says which. It closes the terminal.
func (w Wish) Wait(ctx context.Context, terminal io.ReadCloser) string {
	ctx, cancel := context.WithTimeoutCause(ctx, w.For, fmt.Errorf("%s are over", w.For))
	defer cancel()
	enter := make(chan struct{})
	if terminal != nil {
		defer terminal.Close() //nolint:errcheck // only read; this ends the reading
		go func() {
			// A process in the background is not given what is typed: its terminal is none.
			if _, err := bufio.NewReader(terminal).ReadString('\n'); err == nil {
				close(enter)
			}
		}()
	}
	select {
	case <-enter:
		return "Enter"
	case <-ctx.Done():
		return context.Cause(ctx).Error()
	}
}
