package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where Ginkgo's output goes, and a line of ours below it.
type screen struct {
	out      io.Writer
	terminal bool
	plain    bool          // without colours
	every    time.Duration // how often a line comes where there is no terminal
	line     []byte        // of Ginkgo's, as far as it has come
	below    bool          // our line is there
}

// width is the longest line of ours, in characters.
func (s *screen) width() int {
	const elsewhere = 200
	file, ours := s.out.(*os.File)
	if !s.terminal || !ours {
		return elsewhere
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width < 20 {
		return 79
	}
	return width - 1
}

// print writes what is Ginkgo's.
func (s *screen) print(piece []byte) {
	if s.below {
		fmt.Fprint(s.out, "\n\033[K"+s.back())
		s.below = false
	}
	_, _ = s.out.Write(piece) // without a reader the suite ends as well
	if at := bytes.LastIndexByte(piece, '\n'); at >= 0 {
		s.line, piece = nil, piece[at+1:]
	}
	s.line = append(s.line, piece...)
}

// column is behind the last character of Ginkgo's. Colours take no room.
func (s *screen) column() int {
	colour := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	return utf8.RuneCount(colour.ReplaceAll(s.line, nil))
}

// status shows a line of ours: on a terminal in place of the one before, elsewhere as one more.
func (s *screen) status(line string) {
	switch {
	case s.terminal:
		if column := s.column(); column > 0 && column%(s.width()+1) == 0 { // the next character would begin a row
			fmt.Fprintln(s.out)
			s.line = nil
		}
		if !s.plain {
			line = "\033[2m" + line + "\033[0m"
		}
		fmt.Fprint(s.out, "\n\033[K"+line+s.back())
		s.below = true
	case len(s.line) > 0:
		fmt.Fprintln(s.out, "\n"+line)
		s.line = nil
	default:
		fmt.Fprintln(s.out, line)
	}
}

// back moves the cursor from the line below to where Ginkgo goes on.
func (s *screen) back() string {
	text := "\r\033[A"
	if column := s.column() % (s.width() + 1); column > 0 {
		text += fmt.Sprintf("\033[%dC", column)
	}
	return text
}
