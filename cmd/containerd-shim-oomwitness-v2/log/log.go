// Package log decorates an earlier release of github.com/containerd/log where the shim is
// linked (see modfile.sh). The release of today has UseSlog, which no shim calls. For that
// function alone the shim would link log/slog with its two formats, a hundredth of the file.
package log

import (
	"context"

	upstream "upstream.invalid/log" // github.com/containerd/log, by modfile.sh
)

type (
	// Entry is a line of the log.
	Entry = upstream.Entry
	// Fields are the values of a line, by name.
	Fields = upstream.Fields
	// Level says how important a line is.
	Level = upstream.Level
	// OutputFormat is the form of all lines.
	OutputFormat = upstream.OutputFormat
)

// RFC3339NanoFixed is the format of the times.
const RFC3339NanoFixed = upstream.RFC3339NanoFixed

// The levels.
const (
	TraceLevel = upstream.TraceLevel
	DebugLevel = upstream.DebugLevel
	InfoLevel  = upstream.InfoLevel
	WarnLevel  = upstream.WarnLevel
	ErrorLevel = upstream.ErrorLevel
	FatalLevel = upstream.FatalLevel
	PanicLevel = upstream.PanicLevel
)

// The formats of the output.
const (
	TextFormat = upstream.TextFormat
	JSONFormat = upstream.JSONFormat
)

// L is the logger of a context without one, and G returns the logger of a context.
var (
	L = upstream.L
	G = upstream.G
)

// GetLogger returns the logger of a context.
func GetLogger(ctx context.Context) *Entry { return upstream.GetLogger(ctx) }

// WithLogger returns a context with a logger.
func WithLogger(ctx context.Context, logger *Entry) context.Context {
	return upstream.WithLogger(ctx, logger)
}

// GetLevel returns the level of all loggers.
func GetLevel() Level { return upstream.GetLevel() }

// SetLevel sets the level of all loggers. In the earlier release a level was always a name.
func SetLevel[T string | Level](level T) error {
	if l, ok := any(level).(Level); ok {
		return upstream.SetLevel(l.String())
	}
	return upstream.SetLevel(any(level).(string))
}

// SetFormat sets the format of the output.
func SetFormat(format OutputFormat) error { return upstream.SetFormat(format) }
