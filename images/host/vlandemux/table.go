package main

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// table is text in columns, each as wide as its widest cell.
type table struct {
	heads []column
	rows  [][]string
}

// column is one column's head. Numbers stand to the right.
type column struct {
	name  string
	right bool
}

func left(name string) column    { return column{name: name} }
func numbers(name string) column { return column{name: name, right: true} }

func newTable(heads ...column) *table { return &table{heads: heads} }

// add appends a row with as many cells as there are columns.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the heads and rows, without trailing blanks.
func (t *table) write(w io.Writer) error {
	heads := make([]string, len(t.heads))
	widths := make([]int, len(t.heads))
	for i, head := range t.heads {
		heads[i] = head.name
		widths[i] = utf8.RuneCountInString(head.name)
	}
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	out := bufio.NewWriter(w)
	line := func(cells []string) {
		var text strings.Builder
		for i, cell := range cells {
			if i > 0 {
				text.WriteString("  ")
			}
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.heads[i].right {
				text.WriteString(padding + cell)
			} else {
				text.WriteString(cell + padding)
			}
		}
		_, _ = out.WriteString(strings.TrimRight(text.String(), " ") + "\n") // Flush reports it
	}
	line(heads)
	for _, row := range t.rows {
		line(row)
	}
	return out.Flush()
}

// count writes a number with its thousands apart: 1,234,567.
func count(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var text strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			text.WriteByte(',')
		}
		text.WriteRune(digit)
	}
	return text.String()
}
