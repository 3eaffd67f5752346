package engine_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	dockercontext "github.com/docker/cli/cli/context"
	"github.com/docker/cli/cli/context/store"
	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// sign returns a certificate signed by a, or by itself when a is nil, and its key, both in PEM.
func (a *authority) sign(t *testing.T, name string) (signed authority, keyPEM []byte) {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: a == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{{127, 0, 0, 1}},
	}
	parent, by := template, key
	if a != nil {
		parent, by = a.certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	g.Expect(err).NotTo(HaveOccurred())
	certificate, err := x509.ParseCertificate(der)
	g.Expect(err).NotTo(HaveOccurred())
	keyDER, err := x509.MarshalECPrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	return authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})},
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// makeContext writes a context as `docker context create` does, into a configuration of its own.
func makeContext(t *testing.T, name, host string, files *dockercontext.TLSData) {
	t.Helper()
	g := NewWithT(t)
	useHost(t, "")
	folder := t.TempDir()
	t.Setenv("DOCKER_CONFIG", folder)
	contexts := store.New(filepath.Join(folder, "contexts"), store.NewConfig(func() any { return &struct{}{} }))
	g.Expect(contexts.CreateOrUpdate(store.Metadata{
		Name: name, Endpoints: map[string]any{"docker": dockercontext.EndpointMetaBase{Host: host}},
	})).To(Succeed())
	g.Expect(contexts.ResetEndpointTLSMaterial(name, "docker", files.ToStoreTLSData())).To(Succeed())
}

func TestConnectWithAContextsCertificates(t *testing.T) {
	g := NewWithT(t)
	ca, _ := (*authority)(nil).sign(t, "ca")
	server, serverKey := ca.sign(t, "server")
	mine, myKey := ca.sign(t, "client")
	pair, err := tls.X509KeyPair(server.pem, serverKey)
	g.Expect(err).NotTo(HaveOccurred())
	clients := x509.NewCertPool()
	clients.AddCert(ca.certificate)
	daemon := httptest.NewUnstartedServer(&fakeDaemon{})
	daemon.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	daemon.Config.ErrorLog = nil
	daemon.StartTLS()
	t.Cleanup(daemon.Close)
	host := "tcp://" + daemon.Listener.Addr().String()

	makeContext(t, "rack", host, &dockercontext.TLSData{CA: ca.pem, Cert: mine.pem, Key: myKey})
	t.Setenv("DOCKER_CONTEXT", "rack")
	for _, address := range []string{"", "rack"} { // the current context, and one by name
		e, err := engine.Connect(t.Context(), address)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.Host()).To(Equal(host))
		g.Expect(e.Close()).To(Succeed())
	}
	_, err = engine.Connect(t.Context(), "rock")
	g.Expect(err).To(MatchError(And(ContainSubstring(`context "rock"`), ContainSubstring("docker context ls"))))

	plain := newFakeDaemon(t, &fakeDaemon{})
	e, err := engine.Connect(t.Context(), "default")
	g.Expect(err).NotTo(HaveOccurred(), "docker context ls lists it, and no file describes it")
	g.Expect(e.Host()).To(Equal("unix://" + plain.socket))
	g.Expect(e.Close()).To(Succeed())

	makeContext(t, "rack", host, &dockercontext.TLSData{CA: ca.pem})
	_, err = engine.Connect(t.Context(), "")
	g.Expect(err).To(MatchError(ContainSubstring("certificate required")), "the engine wants to know who asks")
	stranger, _ := (*authority)(nil).sign(t, "stranger")
	makeContext(t, "rack", host, &dockercontext.TLSData{CA: stranger.pem, Cert: mine.pem, Key: myKey})
	_, err = engine.Connect(t.Context(), "")
	g.Expect(err).To(MatchError(ContainSubstring("unknown authority")), "an engine nobody vouches for")
}

// sshLog is the variable that makes this test binary the ssh command. It names a file for the arguments of each login.
const sshLog = "VLANDEMUX_ENGINE_SSH_LOG"

// pretendSSH does what ssh does for us: it has a socket here lead to one there, and runs cat there.
func pretendSSH() int {
	file, err := os.OpenFile(os.Getenv(sshLog), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 255
	}
	fmt.Fprintln(file, os.Getpid(), strings.Join(os.Args[1:], " "))
	var ends []string
	for i, arg := range os.Args {
		if arg == "-L" {
			ends = strings.Split(os.Args[i+1], ":")
		}
	}
	if strings.Contains(strings.Join(os.Args, " "), "stranger") {
		fmt.Fprintln(os.Stderr, "Permission denied (publickey).")
		return 255
	}
	listener, err := net.Listen("unix", ends[0]) //nolint:noctx // ends with the process
	if err != nil {
		return 255
	}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", ends[1]) //nolint:noctx // ends with the process
			if err != nil {
				near.Close()
				continue
			}
			go func() { _, _ = io.Copy(far, near); _ = far.(*net.UnixConn).CloseWrite() }()
			go func() { _, _ = io.Copy(near, far); _ = near.(*net.UnixConn).CloseWrite() }()
		}
	}()
	_, _ = io.Copy(os.Stdout, os.Stdin)
	return 0
}

func TestConnectBySSH(t *testing.T) {
	g := NewWithT(t)
	daemon := newFakeDaemon(t, &fakeDaemon{})
	bin := t.TempDir()
	program, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Symlink(program, filepath.Join(bin, "ssh"))).To(Succeed())
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	logins := filepath.Join(bin, "logins")
	t.Setenv(sshLog, logins)
	useHost(t, "")

	e, err := engine.Connect(t.Context(), "ssh://me@rack:2222"+daemon.socket)
	g.Expect(err).NotTo(HaveOccurred())
	for range 5 {
		_, err := e.Leftovers(t.Context(), "any")
		g.Expect(err).To(HaveOccurred(), "the fake lists no containers, but it answers")
		g.Expect(err).NotTo(MatchError(ContainSubstring("connect")))
	}
	g.Expect(e.Close()).To(Succeed())
	args, err := os.ReadFile(logins)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(string(args), "\n")).To(Equal(1), "one login for everything")
	g.Expect(string(args)).To(MatchRegexp(`-l me -p 2222 .*-L (\S+):%s .*rack cat\n$`, daemon.socket))
	_, socket, _ := strings.Cut(string(args), "-L ")
	socket, _, _ = strings.Cut(socket, ":")
	g.Expect(filepath.Dir(socket)).NotTo(BeADirectory(), "what was made for it is gone")

	lost, err := engine.Connect(t.Context(), "ssh://me@rack"+daemon.socket)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(lost.Alive(t.Context())).To(Succeed())
	args, err = os.ReadFile(logins)
	g.Expect(err).NotTo(HaveOccurred())
	var pid int
	g.Expect(fmt.Sscan(strings.Split(string(args), "\n")[1], &pid)).To(Equal(1))
	g.Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
	g.Eventually(lost.Alive).WithArguments(t.Context()).WithTimeout(time.Minute).Should(MatchError(engine.ErrNotAnswering), "the engine is there, but the way to it is not")
	g.Expect(lost.Close()).NotTo(Succeed())

	_, err = engine.Connect(t.Context(), "ssh://stranger@rack")
	g.Expect(err).To(MatchError(engine.ErrNotAnswering))
	g.Expect(err).To(MatchError(And(ContainSubstring("ssh://stranger@rack"), ContainSubstring("Permission denied (publickey)"), ContainSubstring("without a password"))))
}
