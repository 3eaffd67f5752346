package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

func TestConnectExplains(t *testing.T) {
	t.Run("no socket", func(t *testing.T) {
		g := NewWithT(t)
		useHost(t, "unix:///nowhere/docker.sock")
		_, err := engine.Connect(t.Context(), "")
		g.Expect(err).To(MatchError(engine.ErrNoSocket))
		g.Expect(err).To(MatchError(And(ContainSubstring("unix:///nowhere/docker.sock"), ContainSubstring("no such file"),
			ContainSubstring("set DOCKER_HOST"))))
	})
	t.Run("nothing listens", func(t *testing.T) {
		g := NewWithT(t)
		socket := abandonedSocket(t)
		useHost(t, "unix://"+socket)
		_, err := engine.Connect(t.Context(), "")
		g.Expect(err).To(MatchError(engine.ErrNotAnswering))
		g.Expect(err).To(MatchError(And(ContainSubstring("connection refused"), ContainSubstring("systemctl start docker"))))
	})
	t.Run("too old", func(t *testing.T) {
		g := NewWithT(t)
		newFakeDaemon(t, &fakeDaemon{version: "1.40"})
		_, err := engine.Connect(t.Context(), "")
		g.Expect(err).To(MatchError(engine.ErrTooOld))
		g.Expect(err).To(MatchError(And(ContainSubstring("1.40"), ContainSubstring("1.41"), ContainSubstring("upgrade Docker"))))
	})
	t.Run("windows containers", func(t *testing.T) {
		g := NewWithT(t)
		newFakeDaemon(t, &fakeDaemon{refusals: map[string]refusal{"GET /version": {200, `{"Version":"28","ApiVersion":"1.48","Os":"windows"}`}}})
		_, err := engine.Connect(t.Context(), "")
		g.Expect(err).To(MatchError(engine.ErrNotLinux))
	})
	t.Run("failing daemon", func(t *testing.T) {
		g := NewWithT(t)
		newFakeDaemon(t, &fakeDaemon{refusals: map[string]refusal{"GET /version": message(503, "shutting down")}})
		_, err := engine.Connect(t.Context(), "")
		g.Expect(err).To(MatchError(ContainSubstring("shutting down")))
	})
	t.Run("nonsense", func(t *testing.T) {
		g := NewWithT(t)
		useHost(t, "nonsense")
		_, err := engine.Connect(t.Context(), "")
		g.Expect(err).To(MatchError(And(ContainSubstring("nonsense"), ContainSubstring("check DOCKER_HOST"))))
	})
	t.Run("an address of another kind", func(t *testing.T) {
		g := NewWithT(t)
		_, err := engine.Connect(t.Context(), "http://rack:2375")
		g.Expect(err).To(MatchError(And(ContainSubstring("http://rack:2375"), ContainSubstring(`no engine is reached by "http"`), ContainSubstring("unix://, tcp://, ssh://"))))
	})
	t.Run("no address and no context", func(t *testing.T) {
		g := NewWithT(t)
		_, err := engine.Connect(t.Context(), "unix:/run/docker.sock")
		g.Expect(err).To(MatchError(And(ContainSubstring(`context "unix:/run/docker.sock"`), ContainSubstring("none of that name"), ContainSubstring("unix://, tcp://, ssh://"))))
	})
	t.Run("something else that listens", func(t *testing.T) {
		g := NewWithT(t)
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		g.Expect(err).NotTo(HaveOccurred())
		defer listener.Close()
		go func() {
			for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
				_ = conn.Close()
			}
		}()
		_, err = engine.Connect(t.Context(), "tcp://"+listener.Addr().String())
		g.Expect(err).To(MatchError(And(ContainSubstring(listener.Addr().String()), ContainSubstring("no Docker engine, or one that wants other certificates"))))
	})
	t.Run("cancelled", func(t *testing.T) {
		g := NewWithT(t)
		silentSocket(t)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the user has left"))
		defer cancel()
		_, err := engine.Connect(ctx, "")
		g.Expect(err).To(MatchError(ContainSubstring("the user has left")))
	})
}

// abandonedSocket is a socket whose process is gone.
func abandonedSocket(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	folder, err := os.MkdirTemp("", "gone")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket := filepath.Join(folder, "d.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	g.Expect(err).NotTo(HaveOccurred())
	listener.SetUnlinkOnClose(false)
	g.Expect(listener.Close()).To(Succeed())
	return socket
}

// silentSocket accepts connections and never answers.
func silentSocket(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	folder, err := os.MkdirTemp("", "mute")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(folder, "d.sock")})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = listener.Close() })
	useHost(t, "unix://"+listener.Addr().String())
}

// outsider is the variable that makes this test binary a user without permission.
const outsider = "VLANDEMUX_ENGINE_OUTSIDER"

func TestConnectExplainsAForbiddenSocket(t *testing.T) {
	if os.Getenv(outsider) != "" {
		_, err := engine.Connect(t.Context(), "")
		fmt.Println("is ErrPermission:", errors.Is(err, engine.ErrPermission))
		fmt.Println(err)
		return
	}
	g := NewWithT(t)
	daemon := newFakeDaemon(t, &fakeDaemon{})
	g.Expect(os.Chmod(filepath.Dir(daemon.socket), 0o755)).To(Succeed())
	g.Expect(os.Chmod(daemon.socket, 0)).To(Succeed())
	// Root may open everything, so the question is asked by somebody else if this is root. This way the program needn't be theirs to read.
	user := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	user.Env = append(os.Environ(), outsider+"=1")
	user.Dir = "/"
	if os.Getuid() == 0 {
		user.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	output, err := user.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(output))
	g.Expect(string(output)).To(And(ContainSubstring("is ErrPermission: true"), ContainSubstring("permission denied"),
		ContainSubstring("usermod -aG docker"), ContainSubstring("DOCKER_HOST"), ContainSubstring(daemon.socket)))
}
