package demux

import "time"

// LeaseDrops lets the programs tell of drops for so long, as a reader does that is killed then.
func LeaseDrops(d *Demux, lease time.Duration) error { return d.watchDrops(lease) }

// DropsTold returns of how many MACs and reasons the programs have noted when they told of them, and the frames
// they have not told of.
func DropsTold(d *Demux) (noted int, untold uint64, err error) {
	var (
		key  uint64
		rate struct{ Due, Packets uint64 }
	)
	entries := d.objs.DropRates.Iterate()
	for entries.Next(&key, &rate) {
		noted++
		untold += rate.Packets
	}
	return noted, untold, entries.Err()
}
