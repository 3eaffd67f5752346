package demux_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"golang.org/x/sys/unix"
)

// pinOthers pins a map of another program in our folder, under a name that ours has.
func (s *soak) pinOthers() {
	s.must(os.MkdirAll(s.path, 0o700), "making the folder of the pins")
	other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	s.must(err, "making another program's map")
	s.must(errors.Join(other.Pin(filepath.Join(s.path, "clients")), other.Close()), "pinning another program's map")
}

// expectOthersAlone demands that only the other program's pin is left.
func (s *soak) expectOthersAlone(path string) {
	entries, err := os.ReadDir(path)
	s.must(err, "reading the folder of the pins")
	if len(entries) != 1 || entries[0].Name() != "clients" {
		s.fail("in the folder of the pins are %v", entries)
	}
}

// overflow lets the demux follow the interfaces with a tiny buffer, and keeps it from reading
// until messages about what happens are lost.
func (s *soak) overflow() string {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	s.must(err, "opening a netlink socket")
	defer host.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var failed error // of the follower
	looked, ended := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with its namespace
		err := unix.Setns(s.home, unix.CLONE_NEWNET)
		if err == nil {
			err = s.demux.Follow(ctx, demux.FollowOptions{
				Looked:     func() { looked <- struct{}{} },
				Changed:    func(change demux.Change) { failed = errors.Join(failed, change.Err) },
				Overflowed: func() {},
				Buffer:     1,
			})
		}
		ended <- errors.Join(err, failed)
	}()
	defer func() { cancel(); s.must(<-ended, "following") }()
	s.expectLook(looked, ended)
	letGo, err := hold(s.path)
	s.must(err, "holding the pins")
	s.must(churn(host), "making and deleting interfaces")
	what := "overflow: "
	for range 1 + s.rng.IntN(4) {
		index := 0
		what += s.event(&index) + ", "
	}
	s.must(letGo(), "letting the pins go")
	s.follow()
	s.expectLook(looked, ended)
	return what
}

func (s *soak) expectLook(looked chan struct{}, ended chan error) {
	select {
	case <-looked:
	case err := <-ended:
		ended <- nil
		s.must(errors.Join(err, errors.New("it ended")), "following")
	case <-time.After(patience):
		s.fail("the demux did not look at its interfaces")
	}
}

// second is another vlandemux, with pins of its own: it is refused on an interface that is
// served, and leaves nothing.
func (s *soak) second() string {
	opts := s.opts
	opts.PinPath, opts.Attach = s.path+"-second", s.modes[s.rng.IntN(len(s.modes))]
	other, err := demux.Load(opts)
	s.must(err, "loading a second one")
	what := "second " + string(opts.Attach)
	for _, d := range s.devices {
		if d.iface == nil || d.iface.unhooked {
			continue
		}
		if _, err := other.AttachWorker(d.name, s.rng.IntN(2) == 0); !errors.Is(err, demux.ErrServed) {
			s.fail("a second one on %s: %v", d.name, err)
		}
		what += " " + d.name
	}
	s.must(other.Detach(), "detaching the second one")
	if _, err := os.Stat(opts.PinPath); !os.IsNotExist(err) {
		s.fail("pins of the second one are left: %v", err)
	}
	return what
}

// extraClients are those of a process that is killed.
const extraClients = 100

// killed lets a process take over, assign and unassign clients of its own in bulk, and kills it
// at any moment from its first on. What the host knew before stays.
func (s *soak) killed() string {
	opts := s.otherwise()
	var workers []string
	for n := range 6 {
		if i := s.named(fmt.Sprint("w", n)); i != nil {
			workers = append(workers, i.name)
		}
	}
	text, err := json.Marshal(soakProcess{opts, workers, s.rng.Uint64()})
	s.must(err, "writing down what the process does")
	process := exec.Command("/proc/self/exe", "-test.run=^TestSoakProcess$")
	process.Env = append(os.Environ(), soakProcessEnv+"="+string(text))
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	s.must(err, "making a pipe")
	s.must(process.Start(), "starting a process")
	said := bufio.NewReader(out)
	if _, err := said.ReadString('\n'); err != nil {
		s.must(errors.Join(err, process.Wait()), "waiting for the process")
	}
	time.Sleep(time.Duration(s.rng.IntN(60000)) * time.Microsecond) // any moment
	_ = process.Process.Kill()                                      // unless it has ended
	why, err := io.ReadAll(said)
	s.must(err, "reading what the process says")
	if _ = process.Wait(); process.ProcessState.Exited() {
		s.fail("the process ended by itself: %s", why)
	}

	former := s.demux
	next, err := demux.Load(s.opts)
	s.must(err, "taking over from a process that was killed")
	s.must(former.Close(), "closing the former one")
	s.demux = next
	s.follow()
	assignments, err := next.Assignments()
	s.must(err, "listing the assignments")
	var extra []demux.MAC
	for _, a := range assignments {
		if !slices.ContainsFunc(s.clientNumbers(), func(n int) bool { return mac(n) == a.MAC }) {
			extra = append(extra, a.MAC)
		}
	}
	s.must(next.UnassignAll(extra), "unassigning the clients of the process")
	for _, worker := range next.Workers() {
		if s.device(worker.Name) == nil {
			s.must(next.DetachWorker(worker.Name), "detaching the process's worker %s", worker.Name)
		}
	}
	return fmt.Sprintf("kill -9 with %d clients more", len(extra))
}

const soakProcessEnv = "VLANDEMUX_SOAK_PROCESS"

type soakProcess struct {
	Opts    demux.Options
	Workers []string
	Seed    uint64
}

// TestSoakProcess is the process that is killed.
func TestSoakProcess(t *testing.T) {
	text := os.Getenv(soakProcessEnv)
	if text == "" {
		return
	}
	var what soakProcess
	if err := json.Unmarshal([]byte(text), &what); err != nil {
		t.Fatal(err)
	}
	fmt.Println("begun")
	d, err := demux.Load(what.Opts)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(what.Seed, 0))
	for len(what.Workers) > 0 {
		var list []demux.Assignment
		var macs []demux.MAC
		for n := range 1 + rng.IntN(32) {
			a := demux.Assignment{MAC: mac(extraClients + n), Worker: what.Workers[rng.IntN(len(what.Workers))]}
			list, macs = append(list, a), append(macs, a.MAC)
		}
		again := slices.Clone(list)
		for i := range again {
			again[i].Worker = what.Workers[rng.IntN(len(what.Workers))]
		}
		if err := errors.Join(d.AssignAll(list), d.ReassignAll(again), d.UnassignAll(macs)); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.Pause() // until it is killed
}
