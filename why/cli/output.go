package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Main runs a program and ends the process. SIGINT and SIGTERM end the context. What run writes
// goes to the standard output. If nobody reads the output any more, SIGPIPE ends the process, as
// Go's runtime has it: a pipe into head is no error.
func Main(program string, run func(ctx context.Context, stdout io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	out := &Output{file: os.Stdout}
	err := out.outcome(run(ctx, out))
	stop()
	Print(os.Stderr, program, err)
	os.Exit(Status(err))
}

// Output is a standard output that keeps the first error of a write. Whoever writes to the
// output may drop the error: cobra's help does.
type Output struct {
	file *os.File

	mu  sync.Mutex // guards err, and keeps two writes apart
	err error
}

// Fd returns the file descriptor, by which Columns asks for the width of a terminal.
func (o *Output) Fd() uintptr { return o.file.Fd() }

// Write writes to the output. After an error nothing is written any more.
func (o *Output) Write(p []byte) (n int, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		var err error
		if n, err = o.file.Write(p); err != nil {
			o.err = fmt.Errorf("standard output: %w", bare(err))
		}
	}
	return n, o.err
}

// bare returns an error of a file without the name of the file.
func bare(err error) error {
	if of := (*fs.PathError)(nil); errors.As(err, &of) {
		return of.Err
	}
	return err
}

// outcome returns the error of a program that has written to the output. err is the program's
// own: an output that could not be written is an error, also if the program does not say so.
func (o *Output) outcome(err error) error {
	if said := err != nil && err.Error() != ""; said {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	return err
}
