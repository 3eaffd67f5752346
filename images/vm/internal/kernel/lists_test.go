package kernel

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestAListHasCommentsAndBlankLines(t *testing.T) {
	g := NewWithT(t)
	g.Expect(parseList("# all\n\nveth  # pairs\n dummy numdummies=0\n")).To(Equal([]string{"veth", "dummy numdummies=0"}))
}

func TestTheDefaultListsCanBeRead(t *testing.T) {
	g := NewWithT(t)
	modules := DefaultModules()
	g.Expect(modules.Boot).To(ContainElement("9pnet_virtio"))
	g.Expect(modules.Late).To(ContainElements("8021q", "dummy numdummies=0"))
	for _, entry := range append(modules.Boot, modules.Late...) {
		name, _ := splitEntry(entry)
		g.Expect(name).To(MatchRegexp(`^[a-z0-9_]+\??$`))
	}
}
