package demux

import (
	"errors"
	"fmt"
	"iter"

	"github.com/cilium/ebpf"
)

// entries are those of a map. If they end too early, err says so: they are what was to be read.
func entries[K, V any](m *ebpf.Map, what string, err *error) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		var key K
		var value V
		all := m.Iterate()
		for all.Next(&key, &value) {
			if !yield(key, value) {
				return
			}
		}
		if ended := all.Err(); ended != nil {
			*err = fmt.Errorf("reading %s: %w", what, ended)
		}
	}
}

// erase deletes an entry of a map, which may be gone already.
func erase(m *ebpf.Map, key any, format string, values ...any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf(format+": %w", append(values, err)...)
	}
	return nil
}
