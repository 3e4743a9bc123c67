package text

import (
	"io"
	"strings"
)

// between are the spaces between two columns.
const between = "  "

// Column is one of a Table's.
type Column struct {
	Title string
	// Number has the text at the right of the column.
	Number bool
	// Least is how many cells the column keeps when the table has to fit a terminal; 0
	// for a column that is never cut.
	Least int
}

// Table writes rows below their titles.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// Add adds a row. Control characters in it are escaped.
func (t *Table) Add(row ...string) {
	for i := range row {
		row[i] = Plain(row[i])
	}
	t.Rows = append(t.Rows, row)
}

// Write writes the table in at most so many cells a line, 0 for as many as it takes.
func (t *Table) Write(w io.Writer, most int) error {
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = c.Title
	}
	return t.write(w, append([][]string{titles}, t.Rows...), most)
}

// WriteRows writes the rows as Write does, without titles.
func (t *Table) WriteRows(w io.Writer, most int) error { return t.write(w, t.Rows, most) }

func (t *Table) write(w io.Writer, rows [][]string, most int) error {
	widths := t.widths(most)
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString(between)
			}
			line.WriteString(Pad(Cut(cell, widths[i]), widths[i], t.Columns[i].Number))
		}
		out.WriteString(strings.TrimRight(line.String(), " "))
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// widths returns the cells of each column: those that its texts take, less what the
// widest columns give up to fit.
func (t *Table) widths(most int) []int {
	widths := make([]int, len(t.Columns))
	total := len(between) * (len(t.Columns) - 1)
	for i, c := range t.Columns {
		widths[i] = Cells(c.Title)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], Cells(row[i]))
		}
		total += widths[i]
	}
	for ; most > 0 && total > most; total-- {
		widest := -1
		for i, c := range t.Columns {
			if c.Least > 0 && widths[i] > c.Least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}
