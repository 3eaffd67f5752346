package agent

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	. "github.com/onsi/gomega"
)

// A value that is a whole array is as easy to read as the map with a value for each element would be.
func TestDumpsALongValueInLines(t *testing.T) {
	g := NewWithT(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 1 << 20, MaxEntries: 1})
	g.Expect(err).NotTo(HaveOccurred())
	defer m.Close() //nolint:errcheck // only looked at
	value := make([]byte, m.ValueSize())
	value[64*3], value[len(value)-1] = 0xab, 0xcd
	g.Expect(m.Put(uint32(0), value)).To(Succeed())
	info, err := m.Info()
	g.Expect(err).NotTo(HaveOccurred())
	id, _ := info.ID()

	var w strings.Builder
	g.Expect(dumpMap(&w, id)).To(Succeed())
	g.Expect(strings.Split(w.String(), "\n")[2:]).To(HaveExactElements(
		"00000000 at 192: ab"+strings.Repeat("00", 63),
		"00000000 at 1048512: "+strings.Repeat("00", 63)+"cd",
		"and 16382 lines of zeros",
		""))
}
