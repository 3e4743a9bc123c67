package events

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Size is a number of bytes in four digits or fewer.
func Size(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	value, unit := float64(bytes), 0
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, units[unit])
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// odd reports whether a rune is not printed. RuneError also stands for a byte that is
// not UTF-8.
func odd(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// Clean makes text of others safe for a terminal and for one line: a process
// may call itself anything. Clean of what Clean has returned is the same.
func Clean(s string) string {
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var out strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&out, `\x%02x`, s[i])
		case !unicode.IsPrint(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
