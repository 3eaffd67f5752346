package control_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

func TestTheSocketIsForRootAndItsGroup(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := control.Listen(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	info, err := os.Lstat(path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode()).To(Equal(fs.ModeSocket | 0o660))
	g.Expect(os.ReadDir(filepath.Dir(path))).To(HaveLen(1))
	g.Expect(listener.Close()).To(Succeed())
	g.Expect(os.ReadDir(filepath.Dir(path))).To(BeEmpty())
}

func TestTheSocketOfADeadProcessIsReplaced(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	g.Expect(err).NotTo(HaveOccurred())
	dead.SetUnlinkOnClose(false)
	g.Expect(dead.Close()).To(Succeed())
	listener, err := control.Listen(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	conn, err := net.Dial("unix", path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(conn.Close()).To(Succeed())
	g.Expect(listener.Close()).To(Succeed())
}

func TestASocketInUseIsRefused(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := control.Listen(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	defer listener.Close()
	_, err = control.Listen(t.Context(), path)
	g.Expect(err).To(MatchError(control.ErrSocketInUse))
	g.Expect(err).To(MatchError(ContainSubstring(path)))
	conn, err := net.Dial("unix", path)
	g.Expect(err).NotTo(HaveOccurred(), "the first one still serves")
	g.Expect(conn.Close()).To(Succeed())
}

func TestOneOfManyGetsTheSocket(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	var group sync.WaitGroup
	listeners := make([]net.Listener, 20)
	for i := range listeners {
		group.Go(func() { listeners[i], _ = control.Listen(t.Context(), path) })
	}
	group.Wait()
	got := 0
	for _, listener := range listeners {
		if listener != nil {
			got++
			defer listener.Close()
		}
	}
	g.Expect(got).To(Equal(1))
}

// Whoever may open the socket's folder can lock that, and must not keep a demux from starting with it.
func TestALockOfAnotherUserHoldsNobodyUp(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	folder, err := os.Open(filepath.Dir(path))
	g.Expect(err).NotTo(HaveOccurred())
	defer folder.Close()
	g.Expect(unix.Flock(int(folder.Fd()), unix.LOCK_EX)).To(Succeed())
	listener, err := control.Listen(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(listener.Close()).To(Succeed())
	g.Expect(os.ReadDir(filepath.Dir(path))).To(BeEmpty())
}

func TestAFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	g.Expect(os.WriteFile(path, []byte("mine"), 0o600)).To(Succeed())
	_, err := control.Listen(t.Context(), path)
	g.Expect(err).To(MatchError(ContainSubstring("another kind")))
	g.Expect(os.ReadFile(path)).To(Equal([]byte("mine")))
}

func TestListenExplainsBadPaths(t *testing.T) {
	g := NewWithT(t)
	_, err := control.Listen(t.Context(), "/"+strings.Repeat("x", 107))
	g.Expect(err).To(MatchError(ContainSubstring("108 bytes long")))
	_, err = control.Listen(t.Context(), filepath.Join(t.TempDir(), "missing", "s"))
	g.Expect(err).To(MatchError(fs.ErrNotExist))
}

func TestASocketThatWasReplacedIsNotRemoved(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := control.Listen(t.Context(), path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Remove(path)).To(Succeed())
	g.Expect(os.WriteFile(path, nil, 0o600)).To(Succeed())
	g.Expect(listener.Close()).To(Succeed())
	g.Expect(path).To(BeAnExistingFile())
}

func TestTheClientExplainsAMissingSocket(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "s")
	_, err := control.Dial(path).Status(t.Context())
	g.Expect(err).To(MatchError("asking for the status: connecting to " + path + ": no such file or directory: " +
		"no `vlandemux run` serves there, anything it has pinned goes on forwarding; start it, or name its socket with --socket"))
	g.Expect(err).To(MatchError(unix.ENOENT))
}

func TestKernelNames(t *testing.T) {
	g := NewWithT(t)
	names, err := control.NewNames()
	g.Expect(err).NotTo(HaveOccurred())
	defer names.Close()
	g.Expect(names.Name(1)).To(Equal("lo"))
	g.Expect(names.Name(1 << 30)).To(Equal("ifindex 1073741824 (gone)"))
}
