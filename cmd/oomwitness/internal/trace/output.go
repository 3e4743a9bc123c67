// Package trace shows the ledger's records with the names that an operator
// knows.
package trace

import (
	"encoding/json"
	"io"

	"github.com/oomwitness/oomwitness/agent/kill"
)

// Writer shows events one by one.
type Writer interface {
	Begin() error
	Write(*kill.Event) error
	// Flush writes what Write has held back. It is called when the past is shown.
	Flush() error
}

// Formats are the names of the forms of output.
var Formats = []string{"text", "wide", "json"}

// NewWriter returns the writer of a form. The text form takes as many cells as the
// terminal has columns.
func NewWriter(w io.Writer, format string, columns int) Writer {
	switch format {
	case "json":
		return jsonWriter{json.NewEncoder(w)}
	case "wide":
		return &tableWriter{w: w, columns: wideColumns(), grows: true, held: true}
	default:
		return &tableWriter{w: w, columns: narrowColumns(columns)}
	}
}

type jsonWriter struct{ *json.Encoder }

func (jsonWriter) Begin() error { return nil }

func (w jsonWriter) Write(e *kill.Event) error { return w.Encode(e) }

func (jsonWriter) Flush() error { return nil }
