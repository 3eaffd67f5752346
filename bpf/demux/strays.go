package demux

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/vlandemux/vlandemux/bpf/internal/tchook"
)

// removeStrays detaches the TCX links of a vlandemux that are pinned here although its maps are not: somebody has
// removed these, and nobody can take it over any more. It reports whether there were any.
func (p *pins) removeStrays() (found bool, err error) {
	indexes, err := p.links()
	errs := []error{err}
	for _, ifindex := range indexes {
		ours, err := tchook.PinIsOurs(p.link(ifindex), func(id ebpf.ProgramID) bool {
			is, err := isDemux(id)
			errs = append(errs, err)
			return is
		})
		errs = append(errs, err)
		if !ours {
			continue
		}
		found = true
		stray, err := tchook.OpenTCX(p.link(ifindex), ifindex, nil)
		switch {
		case errors.Is(err, tchook.ErrGone): // and so is the pin
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, stray.Detach())
		}
	}
	return found, errors.Join(errs...)
}
