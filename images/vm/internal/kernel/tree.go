package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tree is a kernel and its modules below one folder, however they are arranged there: an unpacked package, a folder
// of /lib/modules with the kernel put into it, or what `make modules_install` and a copy of the image give.
type tree struct {
	// image is the path of the bootable kernel.
	image string
	// files are the paths of the modules, by name.
	files map[string]string
	// builtin are the names of those that are part of the image.
	builtin map[string]bool
}

// openTree looks for a kernel and its modules below dir.
func openTree(dir string) (*tree, error) {
	t := &tree{files: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		return t.add(path)
	})
	if err != nil {
		return nil, fmt.Errorf("looking for a kernel in %s: %w", dir, err)
	}
	if t.image == "" {
		return nil, fmt.Errorf("looking for a kernel in %s: no file there is called vmlinuz, vmlinuz-VERSION or bzImage; put the kernel beside its modules", dir)
	}
	if len(t.files) == 0 {
		return nil, fmt.Errorf("looking for the modules of %s in %s: no file there ends in .ko, .ko.xz, .ko.zst or .ko.gz", filepath.Base(t.image), dir)
	}
	return t, nil
}

func (t *tree) add(path string) error {
	base := filepath.Base(path)
	switch {
	case base == "vmlinuz" || base == "bzImage" || strings.HasPrefix(base, "vmlinuz-"):
		if t.image != "" {
			return fmt.Errorf("there are two kernels, %s and %s: pass a folder with one", t.image, path)
		}
		t.image = path
	case base == "modules.builtin":
		return t.readBuiltin(path)
	default:
		name, ok := moduleName(path)
		if !ok {
			return nil
		}
		if other, ok := t.files[name]; ok {
			return fmt.Errorf("the module %s is there twice, as %s and as %s: pass a folder with the modules of one kernel", name, other, path)
		}
		t.files[name] = path
	}
	return nil
}

// readBuiltin notes the modules that kbuild's modules.builtin names.
func (t *tree) readBuiltin(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			t.builtin[name] = true
		}
	}
	return nil
}

// module is a kernel module: what it contains, and the options to load it with.
type module struct {
	name    string
	options string
	content []byte
}

// ErrMissingModule is what [Boot] fails with when a kernel has no module of a name.
var ErrMissingModule = errors.New("the kernel has no such module")

// resolver puts modules into an order in which each comes after those it depends on.
type resolver struct {
	tree    *tree
	options map[string]string // by module
	done    map[string]bool
}

// newResolver returns a resolver for lists of a tree's modules.
func newResolver(t *tree, lists ...[]string) *resolver {
	r := &resolver{tree: t, options: map[string]string{}, done: map[string]bool{}}
	for _, list := range lists {
		for _, entry := range list {
			if name, options := splitEntry(entry); options != "" {
				r.options[name] = options
			}
		}
	}
	return r
}

// splitEntry splits an entry of a list into a module's name, as the kernel spells it, and options.
func splitEntry(entry string) (name, options string) {
	name, options, _ = strings.Cut(strings.TrimSpace(entry), " ")
	return normalise(name), strings.TrimSpace(options)
}

// order returns the modules of a list and what they depend on, in loading order, without those it returned before and
// those built into the kernel. It fails with [ErrMissingModule] naming every one that does not exist.
func (r *resolver) order(list []string) ([]module, error) {
	var ordered []module
	var failed []error
	for _, entry := range list {
		name, _ := splitEntry(entry)
		name, optional := strings.CutSuffix(name, "?")
		if _, there := r.tree.files[name]; optional && !there {
			continue
		}
		var err error
		if ordered, err = r.visit(ordered, name, nil); err != nil {
			failed = append(failed, err)
		}
	}
	return ordered, errors.Join(failed...)
}

// visit appends one module after what it depends on. Path is how the search came here.
func (r *resolver) visit(ordered []module, name string, path []string) ([]module, error) {
	if r.done[name] || r.tree.builtin[name] {
		return ordered, nil
	}
	above := path
	path = append(path, name)
	if slices.Contains(above, name) {
		return ordered, fmt.Errorf("module %s depends on itself: %s", name, strings.Join(path, " → "))
	}
	file, ok := r.tree.files[name]
	if !ok {
		return ordered, fmt.Errorf("module %s: %w, neither as a file nor built in", strings.Join(path, " → "), ErrMissingModule)
	}
	content, err := readModule(file)
	if err != nil {
		return ordered, err
	}
	depends, err := dependencies(content)
	if err != nil {
		return ordered, fmt.Errorf("%s: %w", file, err)
	}
	for _, on := range depends {
		if ordered, err = r.visit(ordered, on, path); err != nil {
			return ordered, err
		}
	}
	r.done[name] = true
	return append(ordered, module{name: name, options: r.options[name], content: content}), nil
}
