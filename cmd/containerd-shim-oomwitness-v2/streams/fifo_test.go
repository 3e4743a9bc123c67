//go:build linux

package fifo

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// open returns both ends of a new FIFO, opened as the shim and its client open them.
func open(t *testing.T) (shim, client io.ReadWriteCloser) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	client, err := OpenFifo(t.Context(), path, syscall.O_RDONLY|syscall.O_CREAT|syscall.O_NONBLOCK, 0o600)
	require.NoError(t, err)
	shim, err = OpenFifo(t.Context(), path, syscall.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { shim.Close(); client.Close() })
	return shim, client
}

// pipe returns a pipe as the one between a container and the shim.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// start copies as upstream's shim does, and returns the end of the copy.
func start(w io.WriteCloser, r io.Reader) <-chan error {
	copied := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(w, r, make([]byte, 1))
		w.Close()
		copied <- err
	}()
	return copied
}

// through writes to one end more than a pipe, a FIFO and a buffer hold, and requires that
// all comes out at the other end and that the copy in between ends.
func through(t *testing.T, in io.WriteCloser, copied <-chan error, out io.Reader) {
	t.Helper()
	large := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	go func() {
		_, _ = in.Write(large)
		in.Close()
	}()
	got, err := io.ReadAll(out)
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, got), "%d bytes of %d", len(got), len(large))
	select {
	case err := <-copied:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the copy has not ended")
	}
}

// TestCopyFromPipe copies the output of a container.
func TestCopyFromPipe(t *testing.T) {
	shim, client := open(t)
	r, w := pipe(t)
	through(t, w, start(shim, r), client)
}

// TestCopyToPipe copies the input of a container: the copy begins before somebody has
// opened the other end.
func TestCopyToPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	in, err := OpenFifo(t.Context(), path, syscall.O_RDONLY|syscall.O_CREAT|syscall.O_NONBLOCK, 0o600)
	require.NoError(t, err)
	defer in.Close()
	r, w := pipe(t)
	copied := start(w, in)
	client, err := OpenFifo(t.Context(), path, syscall.O_WRONLY, 0)
	require.NoError(t, err)
	through(t, client, copied, r)
}

// TestClose ends a copy that waits for data, as the deletion of a container does.
func TestClose(t *testing.T) {
	shim, _ := open(t)
	r, w := pipe(t)
	copied := start(shim, r)
	_, err := w.WriteString("x") // the copy goes on until here, and then waits
	require.NoError(t, err)
	r.Close()
	require.ErrorContains(t, <-copied, "closed")
}

// TestNobodyReads ends a copy whose other end is closed for ever.
func TestNobodyReads(t *testing.T) {
	shim, client := open(t)
	r, w := pipe(t)
	_, err := shim.Write(nil) // the client's end is open from here on
	require.NoError(t, err)
	require.NoError(t, client.Close())
	_, err = w.WriteString("x")
	require.NoError(t, err)
	_, err = io.CopyBuffer(shim, r, nil)
	require.ErrorIs(t, err, syscall.EPIPE)
}

// TestConsole copies from what is no file.
func TestConsole(t *testing.T) {
	shim, client := open(t)
	start(shim, struct{ io.Reader }{strings.NewReader("text")})
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "text", string(got))
}

// TestNoBufferAtRest has 50 streams wait for more, after they have had data.
func TestNoBufferAtRest(t *testing.T) {
	const streams = 50
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what a pool keeps is kept over one collection
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var shims, clients []io.ReadWriteCloser
	var readers, writers []*os.File
	for i := 0; i < streams; i++ {
		shim, client := open(t)
		r, w := pipe(t)
		shims, clients, readers, writers = append(shims, shim), append(clients, client), append(readers, r), append(writers, w)
	}
	before := heap()
	for i := range shims {
		go func(i int) { _, _ = io.CopyBuffer(shims[i], readers[i], nil) }(i)
		_, err := writers[i].WriteString("x")
		require.NoError(t, err)
		_, err = clients[i].Read(make([]byte, 1))
		require.NoError(t, err)
	}
	each := (heap() - before) / streams
	t.Logf("%d bytes for each stream", each)
	require.Less(t, each, int64(4<<10), "io.CopyBuffer alone keeps 32 KiB")
}
