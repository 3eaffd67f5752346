package result

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Machine is what a run was measured on.
type Machine struct {
	CPU    string
	CPUs   int
	Kernel string
	Docker string
}

func (m Machine) String() string {
	return fmt.Sprintf("%d processors (%s) · kernel %s · Docker %s", m.CPUs, m.CPU, m.Kernel, m.Docker)
}

// WriteTable writes the rows for people, and the notes on their groups and variants.
func WriteTable(w io.Writer, rows []Row, notes map[string]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "name\tvariant\tmedian\tunit\tmin\tmax\tn\t× limit\tmin\tmax\t\n")
	last := ""
	for _, row := range rows {
		if group, _, _ := strings.Cut(row.Name, "/"); group != last {
			if last != "" {
				fmt.Fprint(table, "\t\t\t\t\t\t\t\t\t\t\n")
			}
			last = group
		}
		ratio := "\t\t"
		switch of := row.Ratio; of.To {
		case "", row.Variant:
		case "limit":
			ratio = fmt.Sprintf("%.2f\t%.2f\t%.2f", of.Median, of.Min, of.Max)
		default:
			ratio = fmt.Sprintf("%.2f %s\t%.2f\t%.2f", of.Median, of.To, of.Min, of.Max)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n",
			row.Name, row.Variant, number(row.Median), row.Unit, number(row.Min), number(row.Max), row.N, ratio)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	said := map[string]bool{}
	for _, row := range rows {
		group, _, _ := strings.Cut(row.Name, "/")
		for _, word := range []string{group, row.Variant} {
			if note := notes[word]; note != "" && !said[word] {
				said[word] = true
				if len(said) == 1 {
					fmt.Fprintln(w)
				}
				fmt.Fprintf(w, "%s: %s\n", word, note)
			}
		}
	}
	return nil
}

// number has three digits that count, and separators between thousands.
func number(v float64) string {
	if v != 0 && math.Abs(v) < 1000 {
		digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
		return strconv.FormatFloat(v, 'f', min(digits, 4), 64)
	}
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
