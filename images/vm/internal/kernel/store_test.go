package kernel

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestTheKeyTellsKernelsAndModulesApart(t *testing.T) {
	g := NewWithT(t)
	modules := Modules{Boot: []string{"9p"}, Late: []string{"veth", "dummy"}}
	same := key("linux_6.1.1-1", modules)
	g.Expect(same).To(Equal(key("linux_6.1.1-1", Modules{Boot: []string{"9p"}, Late: []string{"veth", "dummy"}})))
	g.Expect(same).To(HavePrefix("linux_6.1.1-1-"))
	for name, other := range map[string]string{
		"version":          key("linux_6.1.1-2", modules),
		"another module":   key("linux_6.1.1-1", Modules{Boot: []string{"9p"}, Late: []string{"veth", "dummy", "ifb"}}),
		"another order":    key("linux_6.1.1-1", Modules{Boot: []string{"9p"}, Late: []string{"dummy", "veth"}}),
		"an option":        key("linux_6.1.1-1", Modules{Boot: []string{"9p"}, Late: []string{"veth", "dummy numdummies=0"}}),
		"the other list":   key("linux_6.1.1-1", Modules{Boot: []string{"9p", "veth"}, Late: []string{"dummy"}}),
		"an epoch, a path": key("linux_1:6.1.1-1/../x", modules),
	} {
		g.Expect(other).NotTo(Equal(same), name)
		g.Expect(other).To(MatchRegexp(`^[A-Za-z0-9.+_-]+$`), name)
	}
}

func TestOneOfTwoProcessesPrepares(t *testing.T) {
	g := NewWithT(t)
	store := &Store{Dir: t.TempDir()}
	made := 0
	prepare := func(dir string) (*tree, error) {
		made++
		return openTree(writeTree(t, fakeKernel()))
	}
	preparing, prepared := make(chan struct{}), make(chan error, 1)
	go func() {
		boot, err := store.openOr(t.Context(), "k", "k", Modules{}, silent, func(dir string) (*tree, error) {
			close(preparing)
			return prepare(dir)
		})
		if err == nil {
			err = boot.Close()
		}
		prepared <- err
	}()
	<-preparing
	boot, err := store.openOr(t.Context(), "k", "k", Modules{}, silent, prepare)
	g.Expect(err).NotTo(HaveOccurred())
	defer boot.Close()
	g.Expect(<-prepared).To(Succeed())
	g.Expect(made).To(Equal(1))
	g.Expect(boot.From).To(Equal("cached"))
}

func TestWaitingForAnotherProcessCanBeGivenUp(t *testing.T) {
	g := NewWithT(t)
	store := &Store{Dir: t.TempDir()}
	unlock, err := store.lock(t.Context(), silent)
	g.Expect(err).NotTo(HaveOccurred())
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = store.lock(ctx, func(string) { cancel() })
	g.Expect(err).To(MatchError(context.Canceled))
}

func TestTheStoreIsCleanedUp(t *testing.T) {
	g := NewWithT(t)
	long := time.Now().Add(-keepUnused - time.Hour)
	store := &Store{Dir: writeTree(t, map[string][]byte{
		"tmp/123/root/boot/vmlinuz": nil, "old/" + imageFile: nil, "old/" + modulesFile: nil, "used/" + imageFile: nil, "used/" + modulesFile: nil, "foreign/file": nil,
	})}
	for _, name := range []string{"old", "used", "foreign"} {
		g.Expect(os.Chtimes(filepath.Join(store.Dir, name), long, long)).To(Succeed())
	}
	boot, err := store.open("used", "used")
	g.Expect(err).NotTo(HaveOccurred())
	defer boot.Close()

	unlock, err := store.lock(t.Context(), silent)
	g.Expect(err).NotTo(HaveOccurred())
	defer unlock()
	g.Expect(filepath.Join(store.Dir, "tmp", "123")).NotTo(BeADirectory(), "what a killed process left")
	g.Expect(filepath.Join(store.Dir, "old")).NotTo(BeADirectory())
	g.Expect(filepath.Join(store.Dir, "used")).To(BeADirectory())
	g.Expect(filepath.Join(store.Dir, "foreign")).To(BeADirectory())
}
