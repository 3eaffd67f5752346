package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

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

const configKeys = "trunks, assign, untagged, unknown, group_limit, age, attach, capacity, bpffs, socket, socket_group, metrics"

func (p *configParser) document(document *yaml.Node) {
	top := document.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return
	}
	p.mapping(top, "the settings", func(key, value *yaml.Node) {
		switch key.Value {
		case "trunks":
			p.trunks(value)
		case "assign":
			p.assign(key, value)
		case "untagged":
			p.text(value, &p.config.untagged, func(s string) error { return checkOneOf(s, untaggedPolicies()) })
		case "unknown":
			p.text(value, &p.config.unknown, checkName)
		case "group_limit":
			var limit int
			if p.number(value, "group_limit", &limit, checkGroupLimit) {
				p.config.groupLimit = &limit
			}
		case "age":
			p.age(value)
		case "attach":
			p.text(value, &p.config.attach, func(s string) error { return checkOneOf(s, attachModes()) })
		case "capacity":
			p.number(value, "capacity", &p.config.capacity, checkCapacity)
		case "bpffs":
			p.text(value, &p.config.bpffs, nil)
		case "socket":
			p.text(value, &p.config.socket, nil)
		case "socket_group":
			p.text(value, &p.config.socketGroup, nil)
		case "metrics":
			p.text(value, &p.config.metrics, checkAddress)
		default:
			p.mistake(key, fmt.Errorf("there is no setting %q; there are: %s", key.Value, configKeys))
		}
	})
}

func (p *configParser) age(value *yaml.Node) {
	var text string
	p.text(value, &text, func(s string) error {
		age, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("age: %q is no duration, e.g. 5m", s)
		}
		p.config.age = &age
		return checkAge(age)
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

func (p *configParser) text(node *yaml.Node, into *string, check func(string) error) {
	value, ok := p.scalar(node)
	if !ok {
		return
	}
	if check != nil {
		if err := check(value); err != nil {
			p.mistake(node, err)
			return
		}
	}
	*into = value
}

func (p *configParser) number(node *yaml.Node, name string, into *int, check func(int) error) bool {
	value, ok := p.scalar(node)
	if !ok {
		return false
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		p.mistake(node, fmt.Errorf("%s %q is no number", name, value))
		return false
	}
	if err := check(n); err != nil {
		p.mistake(node, fmt.Errorf("%s %w", name, err))
		return false
	}
	*into = n
	return true
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
	slices.SortFunc(p.config.assign, byMAC)
}
