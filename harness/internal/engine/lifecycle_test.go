package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

func TestStreamCarriesStdinAndStdoutOnly(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	var stderr bytes.Buffer
	spec := l.spec(engine.KindClient, "echo")
	spec.Stderr = &stderr
	c, _, stdout := l.start(t, spec)

	sent := bytes.Repeat([]byte("0123456789abcdef\n\x00\x01\x02"), 100_000)
	written := make(chan error, 1)
	go func() {
		_, err := c.Stream.Write(sent)
		written <- err
	}()
	got := make([]byte, len(sent))
	_, err := io.ReadFull(stdout, got)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(<-written).To(Succeed())
	g.Expect(bytes.Equal(got, sent)).To(BeTrue(), "what comes back is what was sent")

	g.Expect(c.Close(t.Context())).To(Succeed())
	g.Expect(c.Log()).To(Equal("standin: echo\n"))
	g.Expect(stderr.String()).To(Equal("standin: echo\n"))
	g.Expect(c.Close(t.Context())).To(Succeed(), "closing twice")
	_, err = c.Stream.Write([]byte("x"))
	g.Expect(err).To(HaveOccurred())
	_, err = c.Stream.Read(got)
	g.Expect(err).To(HaveOccurred())
}

func TestClosingTheStreamEndsTheContainer(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	c, _, _ := l.start(t, l.spec(engine.KindHost))
	g.Expect(l.Leftovers(t.Context(), l.label)).To(ConsistOf(c.Name))
	g.Expect(c.Stream.Close()).To(Succeed())
	g.Expect(c.Wait(t.Context())).To(Equal(0))
	g.Expect(l.Leftovers(t.Context(), l.label)).To(BeEmpty())
	g.Expect(c.Close(t.Context())).To(Succeed())
}

func TestWaitGivesTheExitStatus(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	c, _, _ := l.start(t, l.spec(engine.KindHost, "stuck"))
	g.Expect(c.Ended()).To(BeFalse())
	g.Expect(c.Signal(t.Context(), "KILL")).To(Succeed())
	g.Expect(c.Wait(t.Context())).To(Equal(137))
	g.Expect(c.Ended()).To(BeTrue())
	g.Expect(c.Close(t.Context())).To(Succeed())
}

func TestProgramThatExitsAtOnceLeavesItsLastWords(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	for range 5 { // whether Start notices is a race; both ways must tell
		c, err := l.Start(t.Context(), l.spec(engine.KindClient, "exit", "3"))
		if err != nil {
			g.Expect(err).To(MatchError(And(ContainSubstring("exited at once with status 3"), ContainSubstring("standin: exit"))))
			continue
		}
		g.Expect(c.Wait(t.Context())).To(Equal(3))
		g.Expect(c.Close(t.Context())).To(Succeed())
		g.Expect(c.Log()).To(Equal("standin: exit\n"))
	}
}

func TestCloseForcesAProgramThatIsStuck(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	c, _, _ := l.start(t, l.spec(engine.KindClient, "stuck"))
	g.Expect(c.Close(t.Context())).To(MatchError(ContainSubstring("removed by force")))
	g.Expect(l.Leftovers(t.Context(), l.label)).To(BeEmpty())
}

func TestCloseForcesAtOnceWhenItsContextHasEnded(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	c, _, _ := l.start(t, l.spec(engine.KindClient, "stuck"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Expect(c.Close(ctx)).To(Succeed(), "no word of a program that did not end")
	g.Expect(l.Leftovers(t.Context(), l.label)).To(BeEmpty())
}

func TestChildrenInTheEnginesProcessNamespaceGoToo(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	parent, r, _ := l.start(t, l.spec(engine.KindHost, "parent"))
	g.Expect(r.Child).NotTo(BeZero())
	watcher, seen, _ := l.start(t, l.spec(engine.KindHost))
	g.Expect(seen.Processes).To(ContainElement(r.Child))
	g.Expect(watcher.Close(t.Context())).To(Succeed())

	g.Expect(parent.Close(t.Context())).To(Succeed())
	watcher, seen, _ = l.start(t, l.spec(engine.KindHost))
	g.Expect(seen.Processes).NotTo(ContainElement(r.Child))
	g.Expect(watcher.Close(t.Context())).To(Succeed())
}

func TestNameInUseIsToldApart(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	c, _, _ := l.start(t, l.spec(engine.KindClient))
	again := l.spec(engine.KindClient)
	again.Name = c.Name
	_, err := l.Start(t.Context(), again)
	g.Expect(err).To(MatchError(engine.ErrNameTaken))
	g.Expect(err).To(MatchError(And(ContainSubstring(c.Name), ContainSubstring("another run uses this name"))))
	g.Expect(c.Ended()).To(BeFalse(), "the first container is untouched")
	g.Expect(c.Close(t.Context())).To(Succeed())
}

func TestMissingImageIsToldApart(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	l := newLab(t)
	spec := l.spec(engine.KindClient)
	spec.Image = "vlandemux/nothing:here"
	_, err := l.Start(t.Context(), spec)
	g.Expect(err).To(MatchError(engine.ErrNoImage))
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	stop := errors.New("stopped by the test")
	// At every stage of a start that takes some 200 ms.
	for delay := time.Duration(0); delay < 300*time.Millisecond; delay += 20 * time.Millisecond {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(delay, func() { cancel(stop) })
		c, err := l.Start(ctx, l.spec(engine.KindClient))
		if err == nil {
			g.Expect(c.Close(t.Context())).To(Succeed())
		}
		timer.Stop()
		cancel(nil)
		g.Expect(l.Leftovers(t.Context(), l.label)).To(BeEmpty(), "cancelled after %v", delay)
	}
}
