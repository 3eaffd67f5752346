package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 256 << 20

// readConfig sets in c what the YAML file at path says. The error lists every mistake with its line.
func readConfig(path string, c *config) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the configuration: %w", err)
	}
	defer file.Close()
	return readConfigFrom(file, path, c)
}

// readConfigFrom is readConfig on what is read; name stands for it in errors.
func readConfigFrom(r io.Reader, name string, c *config) error {
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return fmt.Errorf("reading the configuration %s: %w", name, err)
	}
	if len(text) > maxConfig {
		return fmt.Errorf("reading the configuration %s: larger than %d bytes", name, maxConfig)
	}
	return parseConfig(name, string(text), c)
}

// parseConfig is readConfig on text; name stands for it in errors.
func parseConfig(name, text string, c *config) error {
	p := configParser{config: c}
	text, p.plain, p.plainLine = cutPlainAssignments(text)
	decoder := yaml.NewDecoder(strings.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil // empty, or comments alone
	case err != nil:
		return fmt.Errorf("reading the configuration %s: %w", name, err)
	}
	p.document(&document)
	var more yaml.Node
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		p.mistake(&more, errors.New("a second YAML document; there can be one"))
	}
	if len(p.mistakes) > 0 {
		return &mistakesError{doing: "reading the configuration " + name, mistakes: p.mistakes}
	}
	return nil
}

// configParser walks the YAML by hand, since yaml's own strict decoding names Go types in its errors.
type configParser struct {
	config   *config
	mistakes []error
	// plain are the assignments below the line plainLine, if they are that plain.
	plain     []demux.Assignment
	plainLine int
}

func (p *configParser) mistake(at *yaml.Node, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		p.mistakes = append(p.mistakes, fmt.Errorf("line %d: %s", at.Line, line))
	}
}

func (p *configParser) document(document *yaml.Node) {
	top := document.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return
	}
	all := settings()
	p.mapping(top, "the settings", func(key, value *yaml.Node) {
		n := slices.IndexFunc(all, func(s setting) bool { return s.key() == key.Value })
		switch {
		case key.Value == "trunks":
			p.trunks(value)
		case key.Value == "assign":
			p.assign(key, value)
		case n < 0:
			keys := "trunks, assign"
			for _, s := range all {
				keys += ", " + s.key()
			}
			p.mistake(key, fmt.Errorf("there is no setting %q; there are: %s", key.Value, keys))
		default:
			if text, ok := p.scalar(value); !ok {
				return
			} else if err := all[n].set(p.config, text); err != nil {
				p.mistake(value, fmt.Errorf("%s: %w", key.Value, err))
			}
		}
	})
}

// mapping calls each for every key of a mapping without duplicates.
func (p *configParser) mapping(node *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		p.mistake(node, fmt.Errorf("%s must be a mapping (name: value)", what))
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			p.mistake(key, errors.New("a key must be plain text"))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			p.mistake(key, fmt.Errorf("%s is already on line %d", key.Value, line))
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

// scalar returns the text of a scalar that is not null.
func (p *configParser) scalar(node *yaml.Node) (string, bool) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		p.mistake(node, errors.New("a single value is missing here"))
		return "", false
	}
	return node.Value, true
}

func (p *configParser) trunks(node *yaml.Node) {
	if node.Kind != yaml.SequenceNode {
		p.mistake(node, errors.New("trunks must be a list of interface names, e.g. [eth1]"))
		return
	}
	p.config.trunks = nil
	for _, item := range node.Content {
		if name, ok := p.scalar(item); ok {
			if err := checkName(name); err != nil {
				p.mistake(item, err)
				continue
			}
			p.config.trunks = append(p.config.trunks, name)
		}
	}
}

func (p *configParser) assign(key, node *yaml.Node) {
	if p.plain != nil && key.Line == p.plainLine && node.Tag == "!!null" {
		p.config.assign = p.plain
		return
	}
	p.config.assign = []demux.Assignment{} // not nil: the file has the list
	lines := make(map[demux.MAC]int)
	p.mapping(node, "assign", func(key, value *yaml.Node) {
		mac, err := parseMAC(key.Value)
		if err != nil {
			p.mistake(key, err)
		}
		target, ok := p.scalar(value)
		if !ok {
			return
		}
		a := demux.Assignment{MAC: mac}
		if targetErr := parseTarget(&a, target); targetErr != nil {
			p.mistake(value, targetErr)
			return
		}
		if err != nil {
			return
		}
		if line, twice := lines[mac]; twice {
			p.mistake(key, fmt.Errorf("%s is already assigned on line %d", mac, line))
			return
		}
		lines[mac] = key.Line
		p.config.assign = append(p.config.assign, a)
	})
	demux.SortAssignments(p.config.assign)
}
