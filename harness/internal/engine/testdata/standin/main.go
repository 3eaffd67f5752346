// Command standin stands in for the agents in the engine's tests. It reports what it holds as one line of JSON on stdout, then does what its
// first argument says.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// report must match that of the tests.
type report struct {
	PID          int
	Child        int
	Status       map[string]string // of /proc/self/status
	RootReadOnly bool
	RunWritable  bool
	Interfaces   []string
	Sysctls      map[string]string
	Env          []string
	Folder       string
	Processes    []int
}

func main() {
	mode := append(os.Args, "")[1]
	if mode == "sleep" {
		<-time.After(time.Hour)
	}
	r := look()
	if mode == "parent" {
		child := exec.Command("/proc/self/exe", "sleep")
		if err := child.Start(); err != nil {
			fail(err)
		}
		r.Child = child.Process.Pid
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fail(err)
	}
	fmt.Fprintln(os.Stderr, "standin:", mode)
	switch mode {
	case "exit":
		status, err := strconv.Atoi(os.Args[2])
		if err != nil {
			fail(err)
		}
		os.Exit(status)
	case "stuck":
		<-time.After(time.Hour) // not even the end of stdin ends it
	default: // echo
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			fail(err)
		}
	}
}

func look() report {
	r := report{PID: os.Getpid(), Status: map[string]string{}, Sysctls: map[string]string{}, Env: os.Environ()}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		r.Status[name] = strings.TrimSpace(value)
	}
	for _, name := range []string{"net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6", "net/ipv4/ip_unprivileged_port_start"} {
		value, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			fail(err)
		}
		r.Sysctls[strings.ReplaceAll(name, "/", ".")] = strings.TrimSpace(string(value))
	}
	r.RootReadOnly = os.WriteFile("/scratch", nil, 0o600) != nil
	r.RunWritable = os.WriteFile("/run/scratch", nil, 0o600) == nil
	interfaces, err := net.Interfaces()
	if err != nil {
		fail(err)
	}
	for _, i := range interfaces {
		if i.Name == "lo" || i.Flags&net.FlagUp != 0 { // some kernels add tunnel devices, down, to each namespace
			r.Interfaces = append(r.Interfaces, i.Name)
		}
	}
	if r.Folder, err = os.Getwd(); err != nil {
		fail(err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		fail(err)
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			r.Processes = append(r.Processes, pid)
		}
	}
	return r
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "standin:", err)
	os.Exit(1)
}
