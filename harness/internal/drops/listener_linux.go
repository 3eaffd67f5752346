package drops

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Listener is the BPF program at the tracepoint. Its methods are safe for concurrent use.
type Listener struct {
	objects bpfObjects
	link    link.Link
	reasons map[uint32]string

	mu     sync.Mutex
	reader *ringbuf.Reader   // guarded by mu
	nodes  map[uint32]string // guarded by mu; by the namespace's inode number
	drops  []bpfDrop         // guarded by mu; read from the kernel since Reset
}

// Open loads the program and attaches it. It sees no drop until Watch names namespaces. It needs CAP_SYS_ADMIN, or CAP_BPF
// and CAP_PERFMON, and a kernel with BTF.
func Open() (_ *Listener, err error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("listening to the kernel's drops: reading its types (CONFIG_DEBUG_INFO_BTF): %w", err)
	}
	l := &Listener{}
	if l.reasons, err = reasonNames(kernel); err != nil {
		return nil, err
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("listening to the kernel's drops: %w", err)
	}
	err = errors.Join(spec.Variables[bpfVarMostCopied].Set(uint32(MostCopied)), spec.Variables[bpfVarHasReceiver].Set(hasReceiver(kernel)))
	if err != nil {
		return nil, fmt.Errorf("listening to the kernel's drops: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := spec.LoadAndAssign(&l.objects, nil); err != nil {
		return nil, fmt.Errorf("listening to the kernel's drops: loading the program: %w", err)
	}
	if l.reader, err = ringbuf.NewReader(l.objects.Ring); err != nil {
		return nil, fmt.Errorf("listening to the kernel's drops: mapping the ring: %w", err)
	}
	l.link, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "kfree_skb", Program: l.objects.Dropped})
	if err != nil {
		return nil, fmt.Errorf("listening to the kernel's drops: attaching to the tracepoint skb:kfree_skb: %w", err)
	}
	return l, nil
}

// reasonNames are the names of enum skb_drop_reason, without what they all begin with.
func reasonNames(kernel *btf.Spec) (map[uint32]string, error) {
	var enum *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason", &enum); err != nil {
		return nil, fmt.Errorf("listening to the kernel's drops: it gives no reasons (since Linux 5.17): %w", err)
	}
	names := map[uint32]string{}
	for _, value := range enum.Values {
		names[uint32(value.Value)] = strings.TrimPrefix(strings.TrimPrefix(value.Name, "SKB_DROP_REASON_"), "SKB_")
	}
	return names, nil
}

// hasReceiver tells whether the tracepoint has a fourth argument: the socket that was to receive the packet.
func hasReceiver(kernel *btf.Spec) bool {
	var tracepoint *btf.Typedef
	if kernel.TypeByName("btf_trace_kfree_skb", &tracepoint) != nil {
		return false
	}
	pointer, ok := tracepoint.Type.(*btf.Pointer)
	if !ok {
		return false
	}
	function, ok := pointer.Target.(*btf.FuncProto)
	return ok && len(function.Params) == 5 // the first is the tracepoint's own
}

// Watch replaces the namespaces whose drops are seen: names by the inode number of each namespace.
func (l *Listener) Watch(nodes map[uint32]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for inode := range l.nodes {
		if _, stays := nodes[inode]; stays {
			continue
		}
		if err := l.objects.Namespaces.Delete(inode); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("listening no more to the drops in the namespace of %s: %w", l.nodes[inode], err)
		}
	}
	l.nodes = nodes
	for inode, name := range nodes {
		if err := l.objects.Namespaces.Put(inode, uint8(1)); err != nil {
			return fmt.Errorf("listening to the drops in the namespace of %s: %w", name, err)
		}
	}
	return nil
}

// Reset forgets what was dropped so far.
func (l *Listener) Reset() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.drain(); err != nil {
		return err
	}
	l.drops = nil
	kinds, _, err := l.totals()
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		if err := l.objects.Totals.Delete(kind); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forgetting the kernel's drops: %w", err)
		}
	}
	if err := l.objects.Uncounted.Set(uint64(0)); err != nil {
		return fmt.Errorf("forgetting the kernel's drops: %w", err)
	}
	return nil
}

// drain reads what the kernel has copied. The caller holds mu.
func (l *Listener) drain() error {
	l.reader.SetDeadline(time.Unix(1, 0)) // do not wait
	var record ringbuf.Record
	for {
		err := l.reader.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the kernel's drops: %w", err)
		}
		var drop bpfDrop
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &drop); err != nil {
			return fmt.Errorf("reading the kernel's drops: a record of %d octets: %w", len(record.RawSample), err)
		}
		l.drops = append(l.drops, drop)
	}
}

func (l *Listener) totals() (kinds []bpfKind, totals []bpfTotal, err error) {
	var kind bpfKind
	var total bpfTotal
	all := l.objects.Totals.Iterate()
	for all.Next(&kind, &total) {
		kinds, totals = append(kinds, kind), append(totals, total)
	}
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, nil, fmt.Errorf("reading how many packets the kernel has dropped: %w", err)
	}
	return kinds, totals, nil
}

// Read is what was dropped since the last Reset.
func (l *Listener) Read() (Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.drain(); err != nil {
		return Report{}, err
	}
	kinds, totals, err := l.totals()
	if err != nil {
		return Report{}, err
	}
	var report Report
	if err := l.objects.Uncounted.Get(&report.Uncounted); err != nil {
		return Report{}, fmt.Errorf("reading how many drops the kernel could not count: %w", err)
	}
	type interfaceKey struct{ netns, index uint32 }
	names := map[interfaceKey]string{}
	copied := map[bpfKind]uint64{}
	for i := range l.drops {
		d := &l.drops[i]
		if name := text(d.Name[:]); name != "" {
			names[interfaceKey{d.Netns, d.Ifindex}] = name
		}
		copied[bpfKind{Netns: d.Netns, Ifindex: d.Ifindex, Reason: d.Reason, Place: d.Place}]++
	}
	functions := map[uint64]string{}
	describe := func(netns, index, reason uint32, place uint64) Kind {
		if functions[place] == "" {
			functions[place] = l.function(place)
		}
		name := names[interfaceKey{netns, index}]
		if name == "" && index != 0 {
			name = fmt.Sprintf("interface %d", index)
		}
		return Kind{Node: l.nodes[netns], Interface: name, Reason: cmp.Or(l.reasons[reason], fmt.Sprintf("%#x", reason)), Function: functions[place]}
	}
	now := monotonicOffset()
	for i := range l.drops {
		d := &l.drops[i]
		report.Drops = append(report.Drops, Drop{
			Time: int64(d.Time) + now, Kind: describe(d.Netns, d.Ifindex, d.Reason, d.Place),
			Length: int(d.Length), Segment: int(d.Segment), Octets: slices.Clone(d.Octets[:min(int(d.Captured), len(d.Octets))]),
		})
	}
	slices.SortStableFunc(report.Drops, func(x, y Drop) int { return cmp.Compare(x.Time, y.Time) })
	for i, kind := range kinds {
		report.Totals = append(report.Totals, Total{
			Kind: describe(kind.Netns, kind.Ifindex, kind.Reason, kind.Place), Packets: totals[i].Packets, Copied: copied[kind], Lost: totals[i].Lost,
		})
	}
	slices.SortFunc(report.Totals, func(x, y Total) int { return cmp.Compare(x.String(), y.String()) })
	return report, nil
}

// function names the one that a place in the kernel's code belongs to.
func (l *Listener) function(place uint64) string {
	var symbol bpfSymbol
	if err := l.objects.Symbols.Lookup(place, &symbol); err != nil {
		return fmt.Sprintf("%#x", place)
	}
	return text(symbol.Text[:])
}

func text(characters []int8) string {
	var b bytes.Buffer
	for _, c := range characters {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// monotonicOffset is what is to be added to CLOCK_MONOTONIC to get nanoseconds since 1970.
func monotonicOffset() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0 // it never fails for this clock
	}
	return time.Now().UnixNano() - now.Nano()
}

// Close detaches the program and releases everything.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	if l.link != nil {
		errs = append(errs, l.link.Close())
	}
	if l.reader != nil {
		errs = append(errs, l.reader.Close())
	}
	if l.objects.Dropped != nil {
		errs = append(errs, l.objects.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("listening no more to the kernel's drops: %w", err)
	}
	return nil
}
