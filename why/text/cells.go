package text

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// selectors are the variation selectors by which emoji are asked for as pictures or as
// text. Terminals differ in how wide the picture is.
var selectors = strings.NewReplacer("\ufe0e", "", "\ufe0f", "")

// Plain makes text of others safe for a terminal, and as wide on each terminal.
func Plain(s string) string { return selectors.Replace(Clean(s)) }

// ellipsis stands for what Cut has left out. It takes one cell.
const ellipsis = "…"

// cells returns how many cells of a terminal a printed rune takes, as wcwidth(3) does:
// none for a mark that is put on the rune before it, two for a wide one.
func cells(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) || r >= 0x1160 && r <= 0x11ff { // vowels and finals of Hangul join the rune before
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// Cells returns the cells that a printed text takes.
func Cells(s string) int {
	n := 0
	for _, r := range s {
		n += cells(r)
	}
	return n
}

// Cut shortens a text to most cells. It leaves out the middle and keeps more of the end
// than of the beginning: the names of one workload's pods differ at the end.
func Cut(s string, most int) string {
	if Cells(s) <= most {
		return s
	}
	if most < 1 {
		return ""
	}
	runes := []rune(s)
	room := most - 1
	tail := len(runes)
	for left := (room*2 + 2) / 3; tail > 0; {
		start := tail - 1
		for start > 0 && cells(runes[start]) == 0 { // marks stay with their rune
			start--
		}
		n := Cells(string(runes[start:tail]))
		if n > left {
			break
		}
		left, room, tail = left-n, room-n, start
	}
	head := 0
	for head < tail && cells(runes[head]) <= room {
		room -= cells(runes[head])
		head++
	}
	return string(runes[:head]) + ellipsis + string(runes[tail:])
}

// Pad fills a text up with spaces to a number of cells, on its right or, for numbers, on
// its left.
func Pad(s string, most int, left bool) string {
	space := strings.Repeat(" ", max(0, most-Cells(s)))
	if left {
		return space + s
	}
	return s + space
}
