package main

import (
	"context"
	"errors"
	"fmt"
)

// groups measures a group frame from a worker whose clients are all at one
// place: one copy goes out, which is what the limit makes.
func (b *bench) groups(ctx context.Context) (err error) {
	var turns []turn
	var started []*running
	defer func() { err = errors.Join(err, closeAll(started)) }()
	for _, clients := range []int{100, 10_000, 100_000} {
		name := fmt.Sprintf("group/%d", clients)
		if !b.wants(name) {
			continue
		}
		for _, v := range []variant{ours(), limitGroup()} {
			r, err := v.start(ctx, clients)
			if err != nil {
				return err
			}
			started = append(started, r)
			if v.name == "ours" {
				if err := r.learn(frames{clients: clients, burst: burst, tagged: true, samePlace: true, address: clientMAC}); err != nil {
					return err
				}
			}
			broadcast := func(int) mac { return mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }
			sender, err := newSender(r.virt, r.far, frames{clients: 1, burst: 1, toClients: true, address: broadcast})
			if err != nil {
				return err
			}
			r.keep(sender)
			turns = append(turns, turn{name, v.name, r.virt2phys, sender})
		}
	}
	return b.takeTurns(ctx, 1, turns)
}
