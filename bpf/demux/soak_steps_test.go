package demux_test

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/bpf/nettest"
)

// step does one thing by chance and says what.
func (s *soak) step() string {
	switch chance := s.rng.IntN(400); {
	case chance < 2:
		return s.overflow()
	case chance < 7:
		return s.killed()
	case chance < 15:
		return s.second()
	case chance < 35:
		return s.restart(false)
	case chance < 55:
		return s.restart(true)
	case chance < 115:
		return s.assign()
	case chance < 155:
		return s.reassign()
	case chance < 195:
		return s.unassign()
	case chance < 215:
		return s.trunk()
	default:
		index := 0
		what := s.event(&index)
		return what + ", " + s.tell(index)
	}
}

// tell tells the demux of a change, or lets it look at everything.
func (s *soak) tell(index int) string {
	var done []demux.Change
	var err error
	all := index == 0 || s.rng.IntN(2) == 0
	if all {
		done, err = s.demux.Resync()
	} else if l, missing := netlink.LinkByIndex(index); missing == nil {
		done, err = s.demux.Reconcile([]demux.Link{demux.NewLink(l)}, nil)
	} else {
		done, err = s.demux.Reconcile(nil, []int{index})
	}
	s.must(err, "reconciling")
	for _, change := range done {
		s.must(change.Err, "reconciling %s: %s", change.Name, change.What)
	}
	s.follow()
	return fmt.Sprintf("told all=%v %v", all, done)
}

func (s *soak) pick(of func(*soakIface) bool) *soakIface {
	var found []*soakIface
	for _, i := range s.ifaces {
		if of(i) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[s.rng.IntN(len(found))]
}

func isHere(i *soakIface) bool { return i.here }

// freeName is one that no interface has: of the kind of the name, t or w.
func (s *soak) freeName(kind byte) string {
	var free []string
	for n := range 6 {
		name := fmt.Sprintf("%c%d", kind, n)
		if !slices.ContainsFunc(s.ifaces, func(i *soakIface) bool { return i.name == name }) {
			free = append(free, name)
		}
	}
	if len(free) == 0 {
		return ""
	}
	return free[s.rng.IntN(len(free))]
}

// event changes the host. It sets index to the one interface that is changed.
func (s *soak) event(index *int) string {
	kind := s.rng.IntN(9)
	if kind == 0 {
		name := s.freeName("twww"[s.rng.IntN(4)])
		if name == "" {
			return "nothing"
		}
		again := 0
		if n := len(s.freed); n > 0 && s.rng.IntN(2) == 0 {
			at := s.rng.IntN(n)
			again = s.freed[at]
			s.freed = slices.Delete(s.freed, at, at+1)
		}
		s.add(name, again)
		added := s.named(name)
		if again != 0 {
			s.reused = append(s.reused, added.peer)
		}
		*index = added.index
		return fmt.Sprintf("add %s with index %d", name, again)
	}
	if kind == 1 {
		return s.back()
	}
	i := s.pick(isHere)
	if i == nil {
		return "nothing"
	}
	*index = i.index
	switch kind {
	case 2:
		s.must(netlink.LinkDel(s.link(i.name)), "deleting %s", i.name)
		s.ifaces = slices.DeleteFunc(s.ifaces, func(other *soakIface) bool { return other == i })
		s.freed = append(s.freed, i.index)
		return "delete " + i.name
	case 3:
		if name := s.freeName(i.name[0]); name != "" {
			return s.rename(i, name)
		}
	case 4:
		other := s.pick(func(o *soakIface) bool { return o.here && o != i && o.name[0] == i.name[0] })
		if other == nil {
			break
		}
		*index = 0
		one, two := i.name, other.name
		return s.rename(i, "spare") + s.rename(other, one) + s.rename(i, two)
	case 5:
		i.unhooked = i.unhooked || !s.linked(i)
		s.must(netlink.LinkSetNsFd(s.link(i.name), s.away), "moving %s away", i.name)
		i.here, i.up = false, false
		return "move away " + i.name
	case 6:
		if s.deviceOf(i) != nil {
			s.detachByForce(i)
			return "take the program off " + i.name
		}
	case 7:
		s.must(netlink.LinkSetDown(s.link(i.name)), "setting %s down", i.name)
		i.up = false
		return "down " + i.name
	case 8:
		s.setUp(i.name)
		s.awaitUp(i.name, i.peerName)
		i.up = true
		return "up " + i.name
	}
	return "nothing"
}

func (s *soak) rename(i *soakIface, name string) string {
	what := fmt.Sprintf("rename %s to %s ", i.name, name)
	s.must(nettest.Rename(s.link(i.name), name), "%s", what)
	i.name = name
	return what
}

// back brings an interface home.
func (s *soak) back() string {
	i := s.pick(func(i *soakIface) bool { return !i.here })
	if i == nil {
		return "nothing"
	}
	name := i.name
	if s.named(name) != nil {
		if name = s.freeName(name[0]); name == "" {
			return "nothing"
		}
	}
	s.enter(s.away)
	if name != i.name {
		s.rename(i, name)
	}
	err := netlink.LinkSetNsFd(s.link(name), s.home)
	s.enter(s.home)
	s.must(err, "moving %s back", name)
	s.setUp(name)
	s.awaitUp(name, i.peerName)
	index := s.link(name).Attrs().Index
	i.here, i.up, i.index, i.unhooked = true, true, index, i.unhooked || index != i.index
	return "move back " + name
}

// linked tells whether a program is on the interface by a TCX link.
func (s *soak) linked(i *soakIface) bool {
	attached, err := link.QueryPrograms(link.QueryOptions{Target: i.index, Attach: ebpf.AttachTCXIngress})
	return err == nil && len(attached.Programs) > 0
}

// restart loads again, maybe beside the former one or after things happened to the host.
func (s *soak) restart(stopped bool) string {
	what := "restart "
	former := s.demux
	if stopped || s.rng.IntN(2) == 0 {
		s.must(former.Close(), "closing")
	} else {
		what = "kill "
	}
	if stopped {
		for range 1 + s.rng.IntN(4) {
			index := 0
			what += s.event(&index) + ", "
		}
	}
	s.opts = s.otherwise()
	next, err := demux.Load(s.opts)
	s.must(err, "%sloading", what)
	s.must(former.Close(), "closing the former one")
	s.demux = next
	s.follow()
	return fmt.Sprintf("%s%s, capacity %d", what, s.opts.Attach, s.opts.Capacity)
}

// otherwise are the options that the next process has: another way to attach, and sometimes another capacity, for which the maps are copied.
func (s *soak) otherwise() demux.Options {
	opts := s.opts
	opts.Attach = s.modes[s.rng.IntN(len(s.modes))]
	if s.rng.IntN(3) == 0 {
		opts.Capacity = 64 + 16*s.rng.IntN(4)
	}
	return opts
}

func (s *soak) trunk() string {
	i := s.pick(func(i *soakIface) bool { return i.here && i.name[0] == 't' })
	if i == nil {
		return "nothing"
	}
	s.attachTrunk(i.name)
	return "attach trunk " + i.name
}

// target is the name of a worker that is known or could be.
func (s *soak) target() string {
	var names []string
	for n := range 6 {
		name := fmt.Sprintf("w%d", n)
		if s.device(name) != nil || s.named(name) != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[s.rng.IntN(len(names))]
}

func (s *soak) give(n int, name string) {
	d := s.device(name)
	if d == nil {
		d = &soakDevice{name: name, iface: s.named(name)}
		d.iface.unhooked = false
		s.devices = append(s.devices, d)
	}
	s.clients[n] = d
}

func (s *soak) assign() string {
	var list []demux.Assignment
	var numbers []int
	for range 1 + s.rng.IntN(4) {
		n, name := s.rng.IntN(16), s.target()
		if s.clients[n] == nil && name != "" && !slices.Contains(numbers, n) {
			list = append(list, demux.Assignment{MAC: mac(n), Worker: name})
			numbers = append(numbers, n)
		}
	}
	s.must(s.demux.AssignAll(list), "assigning %v", list)
	for i, n := range numbers {
		s.give(n, list[i].Worker)
	}
	return fmt.Sprintf("assign %v", list)
}

func (s *soak) reassign() string {
	var list []demux.Assignment
	var numbers []int
	for _, n := range s.clientNumbers() {
		if name := s.target(); s.rng.IntN(3) == 0 {
			list = append(list, demux.Assignment{MAC: mac(n), Worker: name})
			numbers = append(numbers, n)
		}
	}
	s.must(s.demux.ReassignAll(list), "reassigning %v", list)
	former := map[*soakDevice]bool{}
	for i, n := range numbers {
		former[s.clients[n]] = true
		s.give(n, list[i].Worker)
	}
	s.forgetIdle(former)
	return fmt.Sprintf("reassign %v", list)
}

func (s *soak) unassign() string {
	var list []demux.MAC
	former := map[*soakDevice]bool{}
	for _, n := range s.clientNumbers() {
		if s.rng.IntN(4) == 0 {
			list = append(list, mac(n))
			former[s.clients[n]] = true
			delete(s.clients, n)
		}
	}
	s.must(s.demux.UnassignAll(list), "unassigning %v", list)
	s.forgetIdle(former)
	return fmt.Sprintf("unassign %v", list)
}
