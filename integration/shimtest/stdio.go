//go:build linux

package shimtest

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"
)

// Stdio is the client's end of a process's standard streams.
type Stdio struct {
	// Stdin, Stdout and Stderr are the paths of the fifos, for requests.
	Stdin, Stdout, Stderr string
	// Terminal says that stderr goes to the terminal as well.
	Terminal bool

	stdin      io.WriteCloser
	out, err   buffer
	closers    []io.Closer
	outDone    chan struct{}
	errorsDone chan struct{}
}

// NewStdio makes fifos for a process of the bundle. They are closed at the end of the test.
func (b *Bundle) NewStdio(name string, terminal bool) *Stdio {
	b.node.t.Helper()
	s := &Stdio{
		Stdin:    filepath.Join(b.Path, name+"-stdin"),
		Stdout:   filepath.Join(b.Path, name+"-stdout"),
		Terminal: terminal,
		outDone:  make(chan struct{}), errorsDone: make(chan struct{}),
	}
	if !terminal {
		s.Stderr = filepath.Join(b.Path, name+"-stderr")
	}
	if err := s.open(); err != nil {
		b.node.t.Fatalf("fifos of %s: %v", name, err)
	}
	b.node.t.Cleanup(func() {
		for _, c := range s.closers {
			_ = c.Close()
		}
	})
	return s
}

func (s *Stdio) open() error {
	stdin, err := fifo.OpenFifo(context.Background(), s.Stdin, unix.O_WRONLY|unix.O_CREAT|unix.O_NONBLOCK, 0o700)
	if err != nil {
		return err
	}
	s.stdin = stdin
	s.closers = append(s.closers, stdin)
	if err := s.read(s.Stdout, &s.out, s.outDone); err != nil || s.Terminal {
		return err
	}
	return s.read(s.Stderr, &s.err, s.errorsDone)
}

func (s *Stdio) read(path string, to *buffer, done chan struct{}) error {
	f, err := fifo.OpenFifo(context.Background(), path, unix.O_RDONLY|unix.O_CREAT|unix.O_NONBLOCK, 0o700)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, f)
	go func() {
		defer close(done)
		_, _ = io.Copy(to, f)
	}()
	return nil
}

// Write writes to the process's stdin.
func (s *Stdio) Write(text string) error {
	_, err := io.WriteString(s.stdin, text)
	return err
}

// CloseStdin closes the client's end of stdin. The shim keeps an end of its own open until
// CloseIO.
func (s *Stdio) CloseStdin() error { return s.stdin.Close() }

// Output returns what the process has written to stdout, or its terminal, so far.
func (s *Stdio) Output() string { return s.out.String() }

// ErrorOutput returns what the process has written to stderr so far.
func (s *Stdio) ErrorOutput() string { return s.err.String() }

// WaitOutput waits until the process has written text to stdout.
func (s *Stdio) WaitOutput(ctx context.Context, text string) error {
	got, err := s.out.wait(ctx, func(out string) bool { return strings.Contains(out, text) })
	if err != nil {
		return fmt.Errorf("wait for %q on stdout: %w; have %q", text, err, got)
	}
	return nil
}

// WaitEOF waits until the shim has closed stdout.
func (s *Stdio) WaitEOF(ctx context.Context) error {
	select {
	case <-s.outDone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of stdout: %w", ctx.Err())
	}
}
