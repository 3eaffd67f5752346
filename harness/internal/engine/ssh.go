package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/connhelper/ssh"

	"github.com/vlandemux/vlandemux/harness/internal/tail"
)

// tunnel is one ssh connection to an engine's machine, over which a socket here leads to the engine's there. Every call of the API and every attached
// container is a channel of it. The docker command logs in anew for each: a lab's containers, attached at once, then meet sshd's MaxStartups.
type tunnel struct {
	socket string // here
	folder string // holds it
	cmd    *exec.Cmd
	stdin  io.Closer // ssh ends with it, so with this process too
	stderr *tail.Buffer
}

// openTunnel logs in at an address such as ssh://user@host:22 or ssh://host/run/user/1000/docker.sock. It returns when the way is open.
func openTunnel(ctx context.Context, address string) (_ *tunnel, err error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	there, err := ssh.NewSpec(parsed)
	if err != nil {
		return nil, err
	}
	engine := there.Path
	if strings.Trim(engine, "/") == "" {
		engine = "/var/run/docker.sock"
	}
	there.Path = ""
	folder, err := os.MkdirTemp("", "vlandemux-ssh-")
	if err != nil {
		return nil, err
	}
	t := &tunnel{socket: filepath.Join(folder, "docker.sock"), folder: folder, stderr: tail.New(logLimit)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	// The program there repeats what it is told: its first words say that we are in.
	args, err := there.Command([]string{"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5",
		"-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none", "-L", t.socket + ":" + engine}, "cat")
	if err != nil {
		return nil, err
	}
	t.cmd = exec.CommandContext(context.WithoutCancel(ctx), "ssh", args...)
	t.cmd.Stderr = t.stderr
	stdin, err := t.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		t.cmd = nil
		return nil, errors.Join(err, stdin.Close())
	}
	t.stdin = stdin
	stop := context.AfterFunc(ctx, func() { _ = t.cmd.Process.Kill() })
	defer stop()
	const hello = "vlandemux\n"
	_, err = io.WriteString(stdin, hello)
	if _, readErr := io.ReadFull(stdout, make([]byte, len(hello))); readErr != nil {
		_ = t.cmd.Wait()
		t.cmd = nil
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("ssh: %w", cmp.Or(lastWords(t.stderr), err, readErr))
	}
	return t, err
}

// lastWords is what ssh wrote on stderr, or nil.
func lastWords(stderr *tail.Buffer) error {
	if text := strings.TrimSpace(stderr.String()); text != "" {
		return errors.New(text)
	}
	return nil
}

func (t *tunnel) close() error {
	var err error
	if t.cmd != nil {
		_ = t.stdin.Close()
		if err = t.cmd.Wait(); err != nil {
			err = fmt.Errorf("ending ssh: %w", cmp.Or(lastWords(t.stderr), err))
		}
	}
	return errors.Join(err, os.RemoveAll(t.folder))
}
