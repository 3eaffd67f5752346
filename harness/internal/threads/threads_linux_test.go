package threads_test

import (
	"os"
	"sync"
	"testing"

	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/harness/internal/threads"
)

// Many visits side by side use every thread the process has, its first one too,
// whose namespace is the one that /proc/self/ns/net stands for.
func TestNoThreadStaysWhereItWas(t *testing.T) {
	g := gomega.NewWithT(t)
	var elsewhere *os.File
	g.Expect(threads.OnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			elsewhere, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})).To(gomega.Succeed())
	defer elsewhere.Close() //nolint:errcheck // only a descriptor
	there, err := elsewhere.Stat()
	g.Expect(err).NotTo(gomega.HaveOccurred())

	var visits sync.WaitGroup
	for range 200 {
		visits.Go(func() {
			g.Expect(threads.Do(int(elsewhere.Fd()), func() error {
				here, err := os.Stat("/proc/thread-self/ns/net")
				g.Expect(os.SameFile(here, there)).To(gomega.BeTrue(), "a visit took place elsewhere")
				return err
			})).To(gomega.Succeed())
		})
	}
	visits.Wait()

	tasks, err := os.ReadDir("/proc/self/task")
	g.Expect(err).NotTo(gomega.HaveOccurred())
	for _, task := range tasks {
		here, err := os.Stat("/proc/self/task/" + task.Name() + "/ns/net")
		if err == nil { // it may have ended
			g.Expect(os.SameFile(here, there)).To(gomega.BeFalse(), "thread %s has stayed", task.Name())
		}
	}
}
