package keep_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/e2e/internal/keep"
)

func TestWhichLabsAreKept(t *testing.T) {
	for _, c := range []struct {
		when, longest  string
		passed, failed bool
		mistake        string
	}{
		{"", "", false, false, ""},
		{"failure", "90s", false, true, ""},
		{"always", "", true, true, ""},
		{"yes", "", false, false, "KEEP=yes: it is failure or always"},
		{"failure", "90", false, false, "KEEP_FOR=90: it is a time such as 90s or 2h"},
		{"failure", "0s", false, false, "KEEP_FOR=0s: it is a time such as 90s or 2h"},
	} {
		g := NewWithT(t)
		t.Setenv("KEEP", c.when)
		t.Setenv("KEEP_FOR", c.longest)
		w, err := keep.FromEnvironment()
		if c.mistake != "" {
			g.Expect(err).To(MatchError(c.mistake))
		} else {
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect([]bool{w.Of(false), w.Of(true), w.Any()}).To(Equal([]bool{c.passed, c.failed, c.passed || c.failed}), "%+v", c)
	}
}

func TestALabIsKeptUntilEnterASignalOrItsTime(t *testing.T) {
	g := NewWithT(t)
	wait := func(ctx context.Context, longest time.Duration, typed string) string {
		terminal, keyboard, err := os.Pipe()
		g.Expect(err).NotTo(HaveOccurred())
		defer keyboard.Close() // typed, and not at its end
		_, err = keyboard.WriteString(typed)
		g.Expect(err).NotTo(HaveOccurred())
		why := keep.Wish{When: "always", For: longest}.Wait(ctx, terminal)
		g.Expect(terminal.Close()).To(MatchError(os.ErrClosed), "nobody else's Enter is read")
		return why
	}
	interrupted, interrupt := context.WithCancelCause(t.Context())
	interrupt(errors.New("interrupted"))
	g.Expect(wait(t.Context(), time.Hour, "well\n")).To(Equal("Enter"))
	g.Expect(wait(t.Context(), time.Nanosecond, "no")).To(Equal("1ns are over"))
	g.Expect(wait(interrupted, time.Hour, "no")).To(Equal("interrupted"))
	g.Expect(keep.Wish{For: time.Nanosecond}.Wait(t.Context(), nil)).To(Equal("1ns are over"), "without a terminal")
}
