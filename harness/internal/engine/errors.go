package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"
)

// What an [Error] can be about, for errors.Is.
var (
	// ErrNoSocket: there is no socket where the engine should listen.
	ErrNoSocket = errors.New("no Docker socket")
	// ErrPermission: this user may not connect to the engine.
	ErrPermission = errors.New("no permission to use Docker")
	// ErrNotAnswering: nothing answers at the engine's address.
	ErrNotAnswering = errors.New("the Docker engine does not answer")
	// ErrTooOld: the engine's API lacks what is needed.
	ErrTooOld = errors.New("the Docker engine is too old")
	// ErrNotLinux: the engine runs containers of another system.
	ErrNotLinux = errors.New("the Docker engine has no Linux containers")
	// ErrCapabilities: the engine can't give a container the capabilities it needs.
	ErrCapabilities = errors.New("capabilities refused")
	// ErrNoSpace: the engine's disk is full.
	ErrNoSpace = errors.New("no space left")
	// ErrNameTaken: another container has the name.
	ErrNameTaken = errors.New("container name taken")
	// ErrNoImage: the image is not on the engine.
	ErrNoImage = errors.New("no such image")
)

// Error says what was being done, why it failed (with the engine's own words) and what to do next.
type Error struct {
	Doing string // e.g. "starting container lab-c0"
	Err   error  // the cause, never nil
	Kind  error  // one of the Err values of this package, or nil
	Hint  string // what to do, "" if unknown
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Doing + ": " + e.Err.Error()
	}
	return e.Doing + ": " + e.Err.Error() + "; " + e.Hint
}

// Unwrap gives the cause and the kind.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Kind}
}

// explain says which engine has refused, where a run has several, and adds what to do about it.
func (e *Engine) explain(doing string, err error) error {
	if e.address != "" {
		doing += " on the engine " + e.address
	}
	return e.advise(doing, err)
}

// advise adds what to do about an engine's refusal. Refusals are told apart by their words, since the API has no codes for them.
func (e *Engine) advise(doing string, err error) error {
	out := &Error{Doing: doing, Err: err}
	message := err.Error()
	switch {
	case errors.Is(err, ErrNotAnswering): // and it says what to do
	case errors.Is(err, errNoAnswer), client.IsErrConnectionFailed(err):
		if e.tunnel != nil {
			out.Err = cmp.Or(lastWords(e.tunnel.stderr), err)
		}
		out.Kind = ErrNotAnswering
		out.Hint = "see whether `docker version` answers; restart the engine if not"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case strings.Contains(message, "unable to apply caps"), strings.Contains(message, "permitted capabilit"),
		strings.Contains(message, "container init: operation not permitted"): // by runc's version
		out.Kind = ErrCapabilities
		out.Hint = "this engine lacks NET_ADMIN, SYS_ADMIN, NET_RAW or SYSLOG itself (it runs in a container or a sandbox): " +
			"use an engine that has them, on the machine itself or in a virtual machine, through DOCKER_HOST"
	case strings.Contains(message, `mounting "proc"`):
		out.Kind = ErrCapabilities
		out.Hint = "this engine runs in a user namespace, as rootless Docker does, and cannot give a container the machine's processes: " +
			"use an engine that root runs, such as DOCKER_HOST=unix:///var/run/docker.sock"
	case strings.Contains(message, "setrlimit"):
		out.Kind = ErrCapabilities
		out.Hint = "this engine gives containers higher limits than it may have itself: lower them (Podman: default_ulimits in containers.conf)"
	case errors.Is(err, syscall.ENOSPC), strings.Contains(message, "no space left on device"):
		out.Kind = ErrNoSpace
		out.Hint = fmt.Sprintf("make room in %s on the engine's machine: `docker system df` shows what fills it, "+
			"`make clean` removes this project's unused images", e.dataRoot())
	case errdefs.IsConflict(err) && strings.Contains(message, "is already in use"):
		out.Kind = ErrNameTaken
		out.Hint = "another run uses this name, or something left it: `docker rm -f` the container if it is yours"
	case errdefs.IsNotFound(err) && strings.Contains(strings.ToLower(message), "no such image"):
		out.Kind = ErrNoImage
		out.Hint = "it was removed while it was needed: run again, and it is built again"
	case errdefs.IsPermissionDenied(err):
		out.Kind = ErrPermission
		out.Hint = "something between here and the engine (a proxy, an authorisation plug-in) forbids it: ask who runs the engine"
	}
	return out
}

// dataRoot asks where the engine keeps its data; an engine with a full disk usually still answers.
func (e *Engine) dataRoot() string {
	ctx, cancel := context.WithTimeout(e.closing, connectTimeout)
	defer cancel()
	info, err := e.api.Info(ctx)
	if err != nil || info.DockerRootDir == "" {
		return "the engine's data folder"
	}
	return info.DockerRootDir
}

// lacksIPv6 tells a kernel that has no IPv6 sysctls.
func lacksIPv6(err error) bool {
	message := err.Error()
	return strings.Contains(message, "net/ipv6/conf") && strings.Contains(message, "no such file")
}

// isGone tells a connection whose other end has closed it.
func isGone(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ENOTCONN) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
