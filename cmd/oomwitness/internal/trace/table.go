package trace

import (
	"io"
	"strings"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/why/text"
)

// column is a column of a table.
type column struct {
	title string
	// width is in cells.
	width int
	// number aligns the text to the right.
	number bool
	// text returns the column's text for an event. It is at most width cells long if it can be
	// shortened; a longer text is cut.
	text func(e *agent.OOMEvent, width int) string
}

// tableWriter writes a table. Further rows are not known. So the narrow form has fixed widths.
// The wide form, which cuts nothing, holds the past rows back until all widths are known; a
// longer row that comes later widens the rows after it.
type tableWriter struct {
	w       io.Writer
	columns []column
	grows   bool
	held    bool
	rows    [][]string
}

// between is the space between two columns.
const between = "  "

// unbounded is the width of a text that is never cut.
const unbounded = 1 << 20

func (t *tableWriter) Begin() error {
	var titles []string
	for _, c := range t.columns {
		titles = append(titles, text.Cut(c.title, t.most(c)))
	}
	return t.row(titles)
}

func (t *tableWriter) Write(e *agent.OOMEvent) error {
	row := make([]string, len(t.columns))
	for i, c := range t.columns {
		row[i] = text.Cut(text.Plain(c.text(e, t.most(c))), t.most(c))
	}
	return t.row(row)
}

// most returns the greatest number of cells for a text in a column.
func (t *tableWriter) most(c column) int {
	if t.grows {
		return unbounded
	}
	return c.width
}

// Flush writes the rows that were held back.
func (t *tableWriter) Flush() error {
	if !t.held {
		return nil
	}
	t.held = false
	rows := t.rows
	t.rows = nil
	return t.write(rows)
}

func (t *tableWriter) row(row []string) error {
	if t.grows {
		for i, cell := range row {
			t.columns[i].width = max(t.columns[i].width, text.Cells(cell))
		}
	}
	if t.held {
		t.rows = append(t.rows, row)
		return nil
	}
	return t.write([][]string{row})
}

func (t *tableWriter) write(rows [][]string) error {
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString(between)
			}
			line.WriteString(text.Pad(cell, t.columns[i].width, t.columns[i].number))
		}
		out.WriteString(strings.TrimRight(line.String(), " "))
		out.WriteByte('\n')
	}
	_, err := io.WriteString(t.w, out.String())
	return err
}
