// Package text makes text that fits a terminal: safe, cut to a number of cells, aligned
// whatever the names contain.
package text

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
)

// DefaultColumns is how wide output is that goes to no terminal.
const DefaultColumns = 80

// odd reports whether a rune is not shown as it stands. RuneError also stands for a byte that
// is not UTF-8.
func odd(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) || fromRight(r) }

// fromRight reports whether a rune is of a script that is written from the right. A terminal
// that knows such scripts moves the numbers beside the rune, such as those of the next column.
func fromRight(r rune) bool {
	if r < firstFromRight {
		return false
	}
	properties, _ := bidi.LookupRune(r)
	switch properties.Class() {
	case bidi.R, bidi.AL, bidi.AN:
		return true
	}
	return false
}

// firstFromRight is the first rune that fromRight can be true for: Hebrew begins there.
const firstFromRight = '\u0590'

// Clean returns text of others as one line that a terminal shows as it stands. Clean of
// what Clean has returned is the same.
func Clean(s string) string {
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var out strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&out, `\x%02x`, s[i])
		case odd(r) && r != utf8.RuneError:
			out.WriteString(escaped(r))
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// escaped returns a rune as Go's and JSON's texts have it.
func escaped(r rune) string {
	if r > 0xffff {
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// Size returns a number of bytes as Kubernetes writes quantities, such as 64.0Mi.
func Size(bytes uint64) string {
	number, prefix := Scale(bytes)
	return number + prefix
}

// Scale returns a number of bytes in four digits or fewer, and the prefix of its unit: ""
// for bytes, or Ki to Ei.
func Scale(bytes uint64) (number, prefix string) {
	prefixes := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	value, unit := float64(bytes), 0
	for value >= 1000 && unit < len(prefixes)-1 {
		value, unit = value/1024, unit+1
	}
	digits := 1
	if unit == 0 || value >= 100 {
		digits = 0
	}
	return strconv.FormatFloat(value, 'f', digits, 64), prefixes[unit]
}

// Ago returns how long ago something was, as kubectl writes ages: 42s, 7m, 3h, 2d.
func Ago(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

// Bar returns a bar of so many cells, of which a share from 0 to 1 is filled. A share
// above 0 has a cell.
func Bar(share float64, cells int) string {
	share = min(max(share, 0), 1)
	full := int(share*float64(cells) + 0.5)
	if share > 0 && full == 0 {
		full = 1
	}
	return strings.Repeat("#", full) + strings.Repeat(".", cells-full)
}

// Wrap breaks text into lines of at most so many cells, at spaces. A word that is longer
// is cut.
func Wrap(s string, most int) []string {
	var lines []string
	line, used := "", 0
	for _, word := range strings.Fields(s) {
		word = Cut(word, most)
		n := Cells(word)
		if used > 0 && used+1+n > most {
			lines, line, used = append(lines, line), "", 0
		}
		if used > 0 {
			line, used = line+" ", used+1
		}
		line, used = line+word, used+n
	}
	if used > 0 {
		lines = append(lines, line)
	}
	return lines
}
