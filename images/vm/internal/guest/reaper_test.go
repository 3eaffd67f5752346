package guest

import (
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// theReaper is the test's, however often it is run: a second one would steal from the first, as in the guest.
var theReaper = sync.OnceValue(newReaper)

func TestTheReaperHandsEachProcessItsStatus(t *testing.T) {
	g := NewWithT(t)
	r := theReaper()
	statuses := map[int]<-chan syscall.WaitStatus{}
	for code := range 8 {
		_, ended, err := r.start("/bin/sh", []string{"sh", "-c", "exit $0", string(rune('0' + code))}, &syscall.ProcAttr{})
		g.Expect(err).NotTo(HaveOccurred())
		statuses[code] = ended
	}
	for code, ended := range statuses {
		var status syscall.WaitStatus
		g.Eventually(ended).WithTimeout(10 * time.Second).Should(Receive(&status))
		g.Expect(status.ExitStatus()).To(Equal(code))
	}
	r.mu.Lock()
	g.Expect(r.waiting).To(BeEmpty())
	r.mu.Unlock()

	_, _, err := r.start("/nowhere", []string{"x"}, &syscall.ProcAttr{})
	g.Expect(err).To(MatchError(syscall.ENOENT))
}
