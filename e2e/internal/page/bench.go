package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ReadBench reads what `make bench` has left: files of that name with .json and .svg. Without them there is none.
func ReadBench(path string) (*Bench, error) {
	data, err := os.ReadFile(path + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the bench's results: %w", err)
	}
	b := &Bench{}
	if err := json.Unmarshal(data, &b.Rows); err != nil {
		return nil, fmt.Errorf("reading the bench's results in %s.json: %w", path, err)
	}
	if info, err := os.Stat(path + ".json"); err == nil {
		b.When = info.ModTime()
	}
	b.SVG, err = os.ReadFile(path + ".svg")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the bench's charts: %w", err)
	}
	return b, nil
}
