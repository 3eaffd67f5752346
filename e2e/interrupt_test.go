package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

var errInterrupted = errors.New("interrupted")

// interruption is Ctrl-C or SIGTERM. Ginkgo's own answer to it shows the stacks of all goroutines three times over, which tells a person
// nothing. This one ends what is running, lets it clean up and skips the rest. A second signal ends the process at once: its containers end with it.
type interruption struct {
	ctx    context.Context // ends at the first signal
	cancel context.CancelCauseFunc
	once   sync.Once
}

func newInterruption() *interruption {
	i := &interruption{}
	i.ctx, i.cancel = context.WithCancelCause(context.Background())
	return i
}

// takeOver takes the signals from Ginkgo, which asks for them just before its first node runs.
func (i *interruption) takeOver() {
	i.once.Do(func() {
		signals := make(chan os.Signal, 2)
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		go func() {
			i.cancel(fmt.Errorf("%w by signal (%s)", errInterrupted, <-signals))
			<-signals
			os.Exit(1)
		}()
	})
}

// bound returns a context that ends with ctx and at the first signal.
func (i *interruption) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(i.ctx, func() { cancel(context.Cause(i.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// fail ends the goroutine that calls it, be it the spec's own or one that the spec has started, with all that is deferred. Ginkgo's own panic
// ends the process where nobody recovers from it.
func (i *interruption) fail(message string, skip ...int) {
	defer func() {
		if e := recover(); e != nil {
			if _, ginkgos := e.(types.GinkgoError); !ginkgos {
				panic(e)
			}
		}
		runtime.Goexit()
	}()
	if i.ctx.Err() != nil {
		ginkgo.AbortSuite(context.Cause(i.ctx).Error()+": what ran has been ended and cleaned up, the rest is skipped", above(skip))
	}
	ginkgo.Fail(message, above(skip))
}

// above is how many callers a function that was told to skip some has its callee skip.
func above(skip []int) int {
	if len(skip) == 0 {
		return 1
	}
	return 1 + skip[0]
}
