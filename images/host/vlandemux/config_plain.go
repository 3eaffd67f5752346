package main

import (
	"strings"

	"github.com/vlandemux/vlandemux/bpf/demux"
)

// cutPlainAssignments reads what is below "assign:" where each line is MAC: WORKER, empty or a comment, as
// programs write it: YAML takes microseconds a line, and there can be a million. It returns the text with
// these lines empty, the assignments by MAC and the line of "assign:". Whatever is not that plain, or wrong,
// is YAML's: the text comes back as it was.
func cutPlainAssignments(text string) (rest string, plain []demux.Assignment, line int) {
	const key = "assign:\n"
	at := strings.Index("\n"+text, "\n"+key)
	if at < 0 {
		return text, nil, 0
	}
	head, left := text[:at+len(key)], text[at+len(key):]
	plain = make([]demux.Assignment, 0, strings.Count(left, "\n")+1)
	lines, indent := 0, 0
	for left != "" && strings.IndexByte(" \n#", left[0]) >= 0 {
		entry, after, _ := strings.Cut(left, "\n")
		left = after
		lines++
		bare := strings.TrimLeft(entry, " ")
		if bare == "" || bare[0] == '#' {
			continue
		}
		if indent == 0 {
			indent = len(entry) - len(bare)
		}
		a, ok := plainAssignment(bare)
		if !ok || len(entry)-len(bare) != indent {
			return text, nil, 0
		}
		plain = append(plain, a)
	}
	if _, twice := demux.Twice(plain); twice || len(plain) == 0 {
		return text, nil, 0
	}
	demux.SortAssignments(plain)
	return head + strings.Repeat("\n", lines) + left, plain, strings.Count(head, "\n")
}

// plainAssignment reads MAC: WORKER, each of them in quotes or not.
func plainAssignment(text string) (a demux.Assignment, ok bool) {
	mac, worker, found := strings.Cut(text, ": ")
	if !found {
		return a, false
	}
	var err error
	if a.MAC, err = parseMAC(unquoted(mac)); err != nil {
		return a, false
	}
	target := unquoted(strings.TrimLeft(worker, " "))
	for i, c := range []byte(target) {
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || strings.IndexByte("_-.@:,", c) < 0) {
			return a, false
		}
	}
	return a, parseTarget(&a, target) == nil && !strings.EqualFold(target, "null")
}

func unquoted(text string) string {
	if n := len(text); n > 1 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		return text[1 : n-1]
	}
	return text
}
