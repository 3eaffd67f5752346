package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"github.com/vlandemux/vlandemux/bpf/demux/control"
)

// roleVariable makes this test binary an agent, so that tests have real ones in processes and namespaces of their own.
const roleVariable = "VLANDEMUX_TEST_AGENT"

// reaperRole makes it process 1 of a PID namespace, where a process ends before the one it has started.
const reaperRole = "reaper"

// longest is how long what must happen may take: the machine may be busy.
const longest = time.Minute

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	switch {
	case role == "":
		gomega.SetDefaultEventuallyTimeout(longest)
		os.Exit(m.Run())
	case os.Args[0] == demuxName:
		os.Exit(fakeDemux(os.Args[1:]))
	case role == reaperRole:
		adopt()
		os.Exit(0)
	default:
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := Serve(context.Background(), os.Stdin, os.Stdout, Config{Role: Role(role), Demux: "/proc/self/exe", Log: log}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// adopt returns once both are gone.
func adopt() {
	go reap(context.Background())
	read, write, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	process, err := syscall.ForkExec("/proc/self/exe", []string{demuxName, "--orphan"},
		&syscall.ProcAttr{Env: []string{roleVariable + "=child"}, Files: []uintptr{0, write.Fd(), 2}})
	if err != nil {
		panic(err)
	}
	var orphan int
	if _, err := fmt.Fscan(read, &orphan); err != nil {
		panic(err)
	}
	for syscall.Kill(process, 0) == nil || syscall.Kill(orphan, 0) == nil {
		<-time.After(time.Millisecond)
	}
}

// fakeDemux stands in for vlandemux: this test binary once more.
func fakeDemux(args []string) int {
	switch {
	case slices.Contains(args, "--fail"):
		fmt.Fprintln(os.Stderr, "Error: attaching to eth9: no such interface\nwhat to do: see `ip link`")
		return 3
	case slices.Contains(args, "--hang"):
		fmt.Fprintln(os.Stderr, "not ready: already waiting for ever")
		if i := slices.Index(args, "--said"); i >= 0 {
			os.WriteFile(args[i+1], nil, 0o600) // tells that it has said so
		}
		<-time.After(time.Hour) // and no deadlock that the runtime would find
	case slices.Contains(args, "--orphan"):
		child := exec.Command("/proc/self/exe", "status") // waits for its input, which ends with this process
		child.Args[0] = demuxName
		if _, err := child.StdinPipe(); err != nil || child.Start() != nil {
			return 1
		}
		fmt.Println(child.Process.Pid)
		return 0
	case len(args) == 0 || args[0] != "run":
		stdin, _ := io.ReadAll(os.Stdin)
		fmt.Printf("argv %q, %d octets of input\n", args, len(stdin))
		return 7
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)
	socket := socketOf(args)
	os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(control.Status{Version: "fake", PID: os.Getpid()})
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{\"type\":\"ready\"}\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("DELETE /v1/assignments/{mac}", func(http.ResponseWriter, *http.Request) { os.Exit(4) })
	go http.Serve(listener, mux)
	slog.New(slog.NewTextHandler(os.Stderr, nil)).Info("ready", "socket", socket)
	if <-terminated == syscall.SIGINT && slices.Contains(args, "--bad-end") {
		fmt.Fprintln(os.Stderr, "could not release the frobnicator")
		return 5
	}
	return 0
}
