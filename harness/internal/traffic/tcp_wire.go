package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// What client and server say to each other around the pattern:
//
//	client: a greeting of 32 octets      server: its name (one octet of length, then the name)
//	then the pattern flows; after an upload or an echo the server adds its verdict (8 octets verified, one of length, a text)
//	and closes first, so that TIME_WAIT stays on its side and the client's port is free for the next connection.
const greetingLength = 32

const greetingMagic = "vldmux\x01"

// tcpModes are the modes by the letter that stands for them in a greeting.
func tcpModes() map[byte]TCPMode {
	return map[byte]TCPMode{'d': Download, 'u': Upload, 'e': Echo}
}

// greeting is what the client asks for.
type greeting struct {
	mode               TCPMode
	seed, octets, rate uint64
}

func (g greeting) encode() ([]byte, error) {
	b := append(make([]byte, 0, greetingLength), greetingMagic...)
	for letter, mode := range tcpModes() {
		if mode == g.mode {
			b = append(b, letter)
		}
	}
	if len(b) != len(greetingMagic)+1 {
		return nil, fmt.Errorf("unknown mode %q; use %q, %q or %q", g.mode, Download, Upload, Echo)
	}
	b = binary.BigEndian.AppendUint64(b, g.seed)
	b = binary.BigEndian.AppendUint64(b, g.octets)
	return binary.BigEndian.AppendUint64(b, g.rate), nil
}

func decodeGreeting(b [greetingLength]byte) (greeting, error) {
	mode, known := tcpModes()[b[len(greetingMagic)]]
	if string(b[:len(greetingMagic)]) != greetingMagic || !known {
		return greeting{}, errors.New("the peer does not speak this server's protocol")
	}
	return greeting{
		mode:   mode,
		seed:   binary.BigEndian.Uint64(b[8:]),
		octets: binary.BigEndian.Uint64(b[16:]),
		rate:   binary.BigEndian.Uint64(b[24:]),
	}, nil
}

// appendText writes a text of at most 255 octets behind its length.
func appendText(b []byte, text string) []byte {
	text = text[:min(len(text), 255)]
	return append(append(b, byte(len(text))), text...)
}

func readText(r io.Reader) (string, error) {
	var length [1]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return "", err
	}
	text := make([]byte, length[0])
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// idleConn gives each read and each write the idle timeout to move at least one octet.
type idleConn struct {
	*net.TCPConn
	idle time.Duration
}

func (c idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.TCPConn.Read(p)
}

func (c idleConn) Write(p []byte) (int, error) {
	for written := 0; ; {
		if err := c.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
			return written, err
		}
		n, err := c.TCPConn.Write(p[written:min(len(p), written+chunk)])
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// chunk is how much of a stream is made, written or read in one go, octets.
const chunk = 64 << 10

// sendPattern writes octets of stream seed, at rate octets a second if that is not 0, and counts them in sent.
func sendPattern(c idleConn, seed, octets, rate uint64, sent *uint64, moved func()) error {
	if rate > 0 {
		if err := setPacing(c.TCPConn, rate); err != nil {
			return err
		}
	}
	buffer := make([]byte, chunk)
	for *sent < octets {
		part := buffer[:min(uint64(len(buffer)), octets-*sent)]
		fillPattern(part, seed, *sent)
		n, err := c.Write(part)
		*sent += uint64(n)
		if err != nil {
			return fmt.Errorf("sending after %d octets: %w", *sent, err)
		}
		moved()
	}
	return nil
}

// receivePattern reads and compares octets of stream seed, counts them in received and hands them on; then, which may be nil, is handed each part.
func receivePattern(c idleConn, seed, octets uint64, received *uint64, then func([]byte) error) error {
	check := verifier{seed: seed}
	buffer := make([]byte, chunk)
	for *received < octets {
		n, err := c.Read(buffer[:min(uint64(len(buffer)), octets-*received)])
		if bad := check.verify(buffer[:n]); bad != nil {
			return bad
		}
		*received += uint64(n)
		if n > 0 && then != nil {
			if err := then(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("receiving after %d of %d octets: %w", *received, octets, whole(err))
		}
	}
	return nil
}

// whole turns the end of a stream that should have gone on into an error that says so.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// setPacing has TCP itself space its segments, without a qdisc.
func setPacing(c *net.TCPConn, rate uint64) error {
	if err := onSocket(c, func(fd int) error {
		return unix.SetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate)
	}); err != nil {
		return fmt.Errorf("pacing to %d octets a second: %w", rate, err)
	}
	return nil
}

// retransmits is tcpi_total_retrans of the socket; 0 once it is closed.
func retransmits(c *net.TCPConn) uint32 {
	var total uint32
	onSocket(c, func(fd int) error { //nolint:errcheck // closed already: there is nothing to read any more
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			total = info.Total_retrans
		}
		return err
	})
	return total
}

func onSocket(c *net.TCPConn, fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}
