package clab

import (
	"fmt"
	"strings"
)

// split takes a command apart at its spaces; quotes of either kind keep words together.
func split(line string) (words []string, err error) {
	var word strings.Builder
	inside, quote := false, rune(0)
	for _, c := range line {
		switch {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			inside, quote = true, c
		case quote == 0 && strings.ContainsRune(" \t\n", c):
			if inside {
				words = append(words, word.String())
			}
			inside = false
			word.Reset()
		default:
			inside = true
			word.WriteRune(c)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the command %q has a quote that does not end", line)
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

// join makes a command of words that split takes apart again.
func join(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n\"'") {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
