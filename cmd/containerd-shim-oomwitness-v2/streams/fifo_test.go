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

// deadline fails the test if the copy does not end.
func deadline(t *testing.T, copied <-chan error) {
	t.Helper()
	select {
	case err := <-copied:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the copy has not ended")
	}
}

// large is more than a pipe, a FIFO and a buffer hold.
var large = bytes.Repeat([]byte("0123456789abcdef"), 64<<10)

// TestCopyFromPipe copies as upstream's shim copies the output of a container.
func TestCopyFromPipe(t *testing.T) {
	shim, client := open(t)
	r, w := pipe(t)
	copied := make(chan error, 1)
	go func() {
		n, err := io.CopyBuffer(shim, r, make([]byte, 1))
		if err == nil && n != int64(len(large)) {
			err = io.ErrShortWrite
		}
		shim.Close()
		copied <- err
	}()
	go func() {
		_, _ = w.Write(large)
		w.Close()
	}()
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, got), "%d bytes of %d", len(got), len(large))
	deadline(t, copied)
}

// TestCopyToPipe copies as upstream's shim copies the input of a container: the copy begins
// before somebody has opened the other end.
func TestCopyToPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	in, err := OpenFifo(t.Context(), path, syscall.O_RDONLY|syscall.O_CREAT|syscall.O_NONBLOCK, 0o600)
	require.NoError(t, err)
	defer in.Close()
	r, w := pipe(t)
	copied := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(w, in, make([]byte, 1))
		w.Close()
		copied <- err
	}()
	client, err := OpenFifo(t.Context(), path, syscall.O_WRONLY, 0)
	require.NoError(t, err)
	go func() {
		_, _ = client.Write(large)
		client.Close()
	}()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, got), "%d bytes of %d", len(got), len(large))
	deadline(t, copied)
}

// TestClose ends a copy that waits for data, as the deletion of a container does.
func TestClose(t *testing.T) {
	shim, _ := open(t)
	r, w := pipe(t)
	copied := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(shim, r, nil)
		copied <- err
	}()
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
	go func() {
		_, _ = io.CopyBuffer(shim, struct{ io.Reader }{strings.NewReader("text")}, nil)
		shim.Close()
	}()
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
