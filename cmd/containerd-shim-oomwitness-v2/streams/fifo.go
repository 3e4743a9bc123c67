//go:build linux

// Package fifo decorates github.com/containerd/fifo where the shim is linked (see
// modfile.sh). Upstream's shim copies each stream of each container by io.CopyBuffer. For an
// *os.File the function ignores the buffer that it is given, and keeps 32 KiB of its own for
// as long as the container runs. A FIFO of this package copies by itself: a stream has a
// buffer while the stream has data, and none at rest.
package fifo

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	upstream "upstream.invalid/fifo" // github.com/containerd/fifo, by modfile.sh
)

// IsFifo reports whether the file is a FIFO.
func IsFifo(path string) (bool, error) { return upstream.IsFifo(path) }

// OpenFifoDup2 is upstream's.
func OpenFifoDup2(ctx context.Context, name string, flag int, perm os.FileMode, fd int) (io.ReadWriteCloser, error) {
	return upstream.OpenFifoDup2(ctx, name, flag, perm, fd)
}

// OpenFifo opens a FIFO as upstream's OpenFifo does.
func OpenFifo(ctx context.Context, name string, flag int, perm os.FileMode) (io.ReadWriteCloser, error) {
	f, err := upstream.OpenFifo(ctx, name, flag, perm)
	if err != nil {
		return nil, err
	}
	return fifo{f}, nil
}

// fifo is upstream's FIFO, with the methods that io.CopyBuffer prefers to a buffer.
type fifo struct{ io.ReadWriteCloser }

// ReadFrom copies from a pipe to the FIFO until the pipe's end.
func (f fifo) ReadFrom(r io.Reader) (int64, error) { return copyStream(f.ReadWriteCloser, r) }

// WriteTo copies from the FIFO until its end.
func (f fifo) WriteTo(w io.Writer) (int64, error) { return copyStream(w, f.ReadWriteCloser) }

// consoleBuffer is the size of the buffer that upstream gives to io.CopyBuffer.
const consoleBuffer = 4 << 10

// copyStream copies from r to w until the end of r.
func copyStream(w io.Writer, r io.Reader) (written int64, err error) {
	conn, ok := r.(syscall.Conn)
	if !ok { // a console: upstream has an epoll of its own
		return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, consoleBuffer))
	}
	raw, err := conn.SyscallConn()
	for err == nil {
		var n int
		n, err = copyOnce(w, raw)
		written += int64(n)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return written, err
}

// buffers are the buffers of the streams that have data, of the size that io.Copy has.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyOnce waits for data without a buffer, and copies one buffer's worth.
func copyOnce(w io.Writer, r syscall.RawConn) (int, error) {
	var buf *[32 << 10]byte
	var n int
	var err error
	waitErr := r.Read(func(fd uintptr) bool {
		buf = buffers.Get().(*[32 << 10]byte)
		n, err = syscall.Read(int(fd), buf[:])
		for errors.Is(err, syscall.EINTR) {
			n, err = syscall.Read(int(fd), buf[:])
		}
		if errors.Is(err, syscall.EAGAIN) {
			buffers.Put(buf)
			buf = nil // who waits keeps no buffer alive
			return false
		}
		return true
	})
	if waitErr != nil {
		return 0, waitErr
	}
	defer buffers.Put(buf)
	switch {
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	default:
		return w.Write(buf[:n])
	}
}
