package page

import (
	"bufio"
	"compress/gzip"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vlandemux/vlandemux/e2e/internal/failure"
	"github.com/vlandemux/vlandemux/harness"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// Write writes a run to a file, which it names for a person.
func Write(path string, run *Run) error {
	page := template.New("page")
	page, err := page.Funcs(functions()).Funcs(template.FuncMap{
		"pack": func(s *Spec) (template.HTML, error) { return pack(page, s) },
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("reading the report's template: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the report's folder: %w", err)
	}
	if err := replace(path, func(w io.Writer) error { return page.Execute(w, run) }); err != nil {
		return fmt.Errorf("writing the report %s: %w", path, err)
	}
	return nil
}

// replace writes a file anew. What was there stays until that is complete.
func replace(path string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	if err := errors.Join(write(w), w.Flush(), file.Chmod(0o644), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return os.Rename(file.Name(), path)
}

// pack is the body of a spec, compressed for the page's script to unpack.
func pack(page *template.Template, s *Spec) (template.HTML, error) {
	var packed strings.Builder
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	w := gzip.NewWriter(text)
	err := errors.Join(page.ExecuteTemplate(w, "body", s), w.Close(), text.Close())
	return template.HTML(packed.String()), err //nolint:gosec // base64 holds no markup
}

func functions() template.FuncMap {
	return template.FuncMap{
		"css":      func() template.CSS { return template.CSS(pageCSS) },
		"js":       func() template.JS { return template.JS(pageJS) },
		"topology": func(d *Drawing) template.HTML { return template.HTML(d.Topology.SVG(d.Notes)) }, //nolint:gosec // the method escapes
		"picture": func(svg []byte) template.URL {
			return template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg)) //nolint:gosec // an image runs no script
		},
		"ladder":    newLadder,
		"histogram": newHistogram,
		"bar":       newTimeBar,
		"phases":    func() []string { return append(harness.PhaseNames(), Rest) },
		"filters":   filters,
		"kinds":     kinds,
		"frames":    wrongFrames,
		"named":     func(name string, total any) part { return part{name, total} },
		"clock":     clock,
		"day":       func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"seconds":   func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) },
		"count":     count[uint64],
		"number":    count[int],
		"after":     after,
		"since":     func(t, first int64) string { return after(time.Duration(t - first)) },
		"more": func(all, shown int) string {
			if all <= shown {
				return ""
			}
			return fmt.Sprintf("and %s more", count(all-shown))
		},
		"base":  filepath.Base,
		"cause": failure.Cause,
		"short": short,
		"difference": func(got, want uint64) string {
			return fmt.Sprintf("%+d", int64(got-want)) //nolint:gosec // counters do not get that far
		},
	}
}

// wrongFrame is one of the wrong frames of a window. Its number is the one that the message has, which leaves those out that are like one before.
type wrongFrame struct {
	Frame            *harness.WrongFrame
	Number, Of, Like int
}

func wrongFrames(v *harness.Verdict) []wrongFrame {
	var all []wrongFrame
	number := 1
	for i := range v.WrongFrames {
		f := &v.WrongFrames[i]
		like := max(0, f.Alike-1)
		all = append(all, wrongFrame{f, number, v.Wrong, like})
		number += 1 + like
	}
	return all
}

// part is the switch or the demux, and what became of its frames.
type part struct {
	Name  string
	Total any
}

// clock is a time of day to the microsecond, as the ledger prints it.
func clock(ns int64) string { return time.Unix(0, ns).UTC().Format("15:04:05.000000") }

// after is a duration in few digits.
func after(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 10).String()
		}
	}
	return d.String()
}

// count has a space between thousands.
func count[T int | uint64](n T) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return text
}

const mostOutput = 64 << 10

// short keeps the end of a text that is too long.
func short(text string) string {
	if len(text) <= mostOutput {
		return text
	}
	return fmt.Sprintf("… %d octets left out here\n%s", len(text)-mostOutput, strings.ToValidUTF8(text[len(text)-mostOutput:], ""))
}
