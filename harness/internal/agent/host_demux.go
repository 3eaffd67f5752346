package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/vlandemux/vlandemux/bpf/demux/control"
	"github.com/vlandemux/vlandemux/harness/internal/tail"
)

const (
	// demuxName is what an operator calls it.
	demuxName = "vlandemux"
	// demuxSocket is where it serves unless its arguments say otherwise.
	demuxSocket = "/run/vlandemux.sock"
	demuxLog    = 256 << 10 // octets of standard error kept
	// DemuxStart is how long it may take until it is ready, or answers: most take a tenth of a second, and emulated processors 20 times as long.
	DemuxStart = 90 * time.Second
)

// demuxChild is the demux as the agent's child.
type demuxChild struct {
	start   time.Duration // how long it may take until it is ready, or answers
	mu      sync.Mutex
	running *child       // guarded by mu; nil before StartDemux and after StopDemux
	log     *tail.Buffer // guarded by mu; of all runs
	socket  string       // guarded by mu; of the last run
}

func (h *host) demuxRoutes(mux *http.ServeMux) {
	handle(mux, "/demux-child/start", h.startDemux)
	handle(mux, "/demux-child/stop", func(ctx context.Context, signal string) (Nothing, error) { return Nothing{}, h.demux.stop(ctx, signal) })
	handle(mux, "/demux-child/log", func(context.Context, Nothing) (string, error) { return h.demux.text(), nil })
	mux.Handle("/demux/", h.demux.proxy())
}

// StartDemux runs `vlandemux run` with args in the host container and returns once it says that it is ready.
// When it ends instead, or says nothing for 90 s, the error holds what it wrote to standard error. Host only.
func (c *Client) StartDemux(ctx context.Context, args []string) error {
	_, err := call[[]string, Nothing](ctx, c, "/demux-child/start", args)
	return err
}

// StopDemux sends "TERM", "INT" or "KILL" and returns when vlandemux has ended. After TERM and INT a status other than 0 is an error,
// and so is a vlandemux that had ended by itself.
func (c *Client) StopDemux(ctx context.Context, signal string) error {
	_, err := call[string, Nothing](ctx, c, "/demux-child/stop", signal)
	return err
}

// DemuxLog is the last that vlandemux wrote to standard error, over all its runs.
func (c *Client) DemuxLog(ctx context.Context) (string, error) {
	return call[Nothing, string](ctx, c, "/demux-child/log", Nothing{})
}

// Demux asks the running demux through its own socket, the way an operator's program does.
func (c *Client) Demux() *control.Client {
	return control.NewClient(c.RoundTripper(), baseURL+"/demux")
}

func (h *host) startDemux(ctx context.Context, args []string) (Nothing, error) {
	d := &h.demux
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running != nil {
		select {
		case <-d.running.done: // it had ended by itself; an operator would start it again just so
		default:
			return Nothing{}, fmt.Errorf("starting vlandemux: it runs already (process %d)", d.running.PID)
		}
	}
	d.socket = socketOf(args)
	if d.log == nil {
		d.log = tail.New(demuxLog)
	}
	// vlandemux logs it once it is attached and serves.
	ready := newLineWatch(regexp.MustCompile(`(^|msg=)"?ready\b`))
	// It outlives this call: StopDemux, or the end of the agent, ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), h.program, append([]string{"run"}, args...)...)
	cmd.Args[0] = demuxName
	cmd.Stdout = d.log
	cmd.Stderr = io.MultiWriter(d.log, ready) // neither ever fails
	running, err := startChild(cmd)
	if err != nil {
		return Nothing{}, err
	}
	d.running = running
	doing := "starting vlandemux " + strings.Join(cmd.Args[1:], " ")
	bound, cancel := context.WithTimeoutCause(ctx, d.start, fmt.Errorf("%v passed", d.start))
	defer cancel()
	select {
	case <-ready.found:
	case <-running.done:
		d.running = nil
		return Nothing{}, fmt.Errorf("%s: it ended before it was ready: %w\n%s", doing, exitError(running.err), lastWords(d.log))
	case <-bound.Done():
		err := d.killLocked()
		return Nothing{}, errors.Join(fmt.Errorf("%s: %w before a line with \"ready\" on its standard error, which it writes once it is attached and serves; it wrote:\n%s",
			doing, context.Cause(bound), lastWords(d.log)), err)
	}
	return Nothing{}, nil
}

// lastWords is the end of what a program wrote, which may be anything, for people with a terminal.
func lastWords(log *tail.Buffer) string {
	const most = 8 << 10
	text := log.String()
	if len(text) > most {
		text = "[earlier output was dropped]\n" + text[len(text)-most:]
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// socketOf finds --socket in vlandemux's arguments.
func socketOf(args []string) string {
	for i, arg := range args {
		if arg == "--socket" && i+1 < len(args) {
			return args[i+1]
		}
		if path, ok := strings.CutPrefix(arg, "--socket="); ok {
			return path
		}
	}
	return demuxSocket
}

func (d *demuxChild) stop(ctx context.Context, name string) error {
	signal, ok := map[string]unix.Signal{"TERM": unix.SIGTERM, "INT": unix.SIGINT, "KILL": unix.SIGKILL}[name]
	if !ok {
		return fmt.Errorf("stopping vlandemux: unknown signal %q; use TERM, INT or KILL", name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running == nil {
		return errors.New("stopping vlandemux: it does not run")
	}
	select {
	case <-d.running.done:
		err := exitError(d.running.err)
		d.running = nil
		return fmt.Errorf("stopping vlandemux: it had ended by itself: %w\n%s", err, lastWords(d.log))
	default:
	}
	if err := d.running.signal(signal); err != nil {
		return fmt.Errorf("stopping vlandemux with SIG%s: %w", name, err)
	}
	select {
	case <-d.running.done:
	case <-ctx.Done():
		return fmt.Errorf("stopping vlandemux with SIG%s: %w, and it still runs; it wrote:\n%s", name, context.Cause(ctx), lastWords(d.log))
	}
	err := d.running.err
	d.running = nil
	if err != nil && signal != unix.SIGKILL {
		return fmt.Errorf("stopping vlandemux with SIG%s: %w\n%s", name, err, lastWords(d.log))
	}
	return nil
}

// processes are those that run: the demux's, if it does.
func (d *demuxChild) processes() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running == nil {
		return nil
	}
	select {
	case <-d.running.done:
		return nil
	default:
		return []int{d.running.PID}
	}
}

// kill ends a demux that still runs, and waits for it.
func (d *demuxChild) kill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.killLocked()
}

func (d *demuxChild) killLocked() error {
	if d.running == nil {
		return nil
	}
	running := d.running
	d.running = nil
	select {
	case <-running.done:
		return nil
	default:
	}
	if err := running.signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("killing vlandemux: %w", err)
	}
	<-running.done
	return nil
}

func (d *demuxChild) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.log == nil {
		return ""
	}
	return d.log.String()
}

// forget empties the log: the next lab's begins with it.
func (d *demuxChild) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = nil
}

// exitError makes sense of a child that ended with status 0 when it should not have ended at all.
func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}
