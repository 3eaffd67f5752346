package demux_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vlandemux/vlandemux/bpf/nettest"
	"golang.org/x/sys/unix"
)

var (
	soakSteps = flag.Int("soak.steps", 0, "steps of the soak test; 0 for 2000, and 60 on emulated processors")
	soakSeed  = flag.Uint64("soak.seed", 0, "seed of the soak test, 0 for a new one")
)

// A step is known by its number: with the state before it, that gives what it does. So
// a sequence can be run again without some of its steps.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	count := *soakSteps
	switch {
	case count > 0:
	case emulated():
		count = 60
	default:
		count = 2000
	}
	t.Logf("-soak.seed %d -soak.steps %d", seed, count)
	steps := make([]uint64, count)
	for i := range steps {
		steps[i] = uint64(i)
	}
	began := time.Now()
	done, failure := runSoak(t, seed, steps, false)
	if failure == nil {
		t.Logf("%d steps in %v", len(steps), time.Since(began))
		return
	}
	t.Errorf("step %d: %v", done, failure)
	steps = steps[:done]
	end := time.Now().Add(time.Minute)
	for size := len(steps) / 2; size > 0 && time.Now().Before(end); size /= 2 {
		for from := 0; from+size <= len(steps) && time.Now().Before(end); {
			fewer := slices.Delete(slices.Clone(steps), from, from+size)
			if done, again := runSoak(t, seed, fewer, false); again != nil {
				failure, steps = again, fewer[:done]
			} else {
				from += size
			}
		}
	}
	t.Errorf("with %d steps: %v", len(steps), failure)
	_, _ = runSoak(t, seed, steps, true)
}

func emulated() bool { return os.Getenv("VLANDEMUX_VM_ACCEL") == "tcg" }

// runSoak returns how many steps were done, and what went wrong then. Verbose, it
// says what each does.
func runSoak(t *testing.T, seed uint64, steps []uint64, verbose bool) (done int, failure error) {
	finished := make(chan struct{})
	go func() { // a thread of its own: it ends with the namespaces
		defer close(finished)
		nettest.Enter(t)
		// The mount is in the namespace of this thread: the others and the processes go by way of it.
		root := fmt.Sprintf("/proc/%d/task/%d/root", os.Getpid(), unix.Gettid())
		s := newSoak(t, filepath.Join(root, nettest.BPFFS(t), "demux"))
		defer s.end()
		failure = s.try(func() { s.load() })
		for _, step := range steps {
			done++
			if failure != nil {
				return
			}
			s.rng = rand.New(rand.NewPCG(seed, step))
			failure = s.try(func() {
				what := s.during(s.step)
				if verbose {
					t.Logf("step %d: %s", step, what)
				}
				s.check()
			})
		}
		if failure == nil {
			failure = s.try(s.finish)
		}
	}()
	<-finished
	return done, failure
}

// soakFailure is what try returns.
type soakFailure struct{ error }

func (s *soak) try(fn func()) (failure error) {
	defer func() {
		if r := recover(); r != nil {
			found, ok := r.(soakFailure)
			if !ok {
				panic(r)
			}
			failure = found.error
		}
	}()
	fn()
	return nil
}

func (s *soak) must(err error, doing string, values ...any) {
	if err != nil {
		panic(soakFailure{fmt.Errorf("%s: %w", fmt.Sprintf(doing, values...), err)})
	}
}

func (s *soak) fail(format string, values ...any) {
	panic(soakFailure{fmt.Errorf(format, values...)})
}

// check sends a frame of each client and one to it, and demands both where they
// belong, and nothing anywhere else.
func (s *soak) check() {
	s.must(s.differs(), "comparing")
	for _, n := range s.clientNumbers() {
		s.exchange(n)
	}
	s.receive(0)
}

const soakMagic = 0x736f616b

func soakPayload(seq uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, soakMagic)
	return append(binary.BigEndian.AppendUint32(b, seq), make([]byte, 50)...)
}

func (s *soak) exchange(n int) {
	trunk := s.pickTrunk()
	if trunk == nil {
		return
	}
	worker := s.clients[n].iface
	vlan := tag(uint16(1 + s.rng.IntN(4000)))
	f := fromClient(n, vlan)
	works := worker != nil && worker.up
	at := 0
	if works {
		at = worker.peer
	}
	s.send(trunk.peer, f, at)
	if !works {
		return
	}
	s.send(worker.peer, toClient(n), trunk.peer)
}

// send sends a frame and waits for it where it belongs; it may come in nowhere else.
func (s *soak) send(from int, f nettest.Frame, at int) {
	s.seq++
	f.Payload = soakPayload(s.seq)
	if at != 0 {
		s.allowed[s.seq] = []int{at}
	}
	s.transmit(from, f.Bytes())
	if at != 0 {
		s.await(s.seq, func() string {
			return fmt.Sprintf("frame to %x of %x, sent at interface %d, to come in at interface %d", f.Destination, f.Source, from, at)
		})
	}
}

// await returns when the frame has come in where it may.
func (s *soak) await(seq uint32, what func() string) {
	for end := time.Now().Add(patience); !s.arrived[seq]; {
		if time.Now().After(end) {
			s.fail("%s: it did not in time: %s", what(), s.describe())
		}
		s.receive(10 * time.Millisecond)
	}
}
