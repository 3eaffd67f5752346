package guest

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/images/vm/internal/protocol"
)

func TestTheCommandIsLookedForInItsOwnPath(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "bin", "x")
	g.Expect(os.MkdirAll(filepath.Join(dir, "bin", "y"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(program, nil, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "bin", "data"), nil, 0o644)).To(Succeed())
	find := func(name string) (string, error) {
		return findCommand(protocol.Config{Args: []string{name}, Dir: dir, Env: []string{"PATH=/nowhere:" + dir + "/bin"}})
	}
	g.Expect(find("x")).To(Equal(program))
	g.Expect(find("./bin/x")).To(Equal(program))
	g.Expect(find("/bin/sh")).To(Equal("/bin/sh"))
	for _, name := range []string{"absent", "data", "y"} {
		_, err := find(name)
		g.Expect(err).To(MatchError(errNotFound), name)
	}
}
