package oom_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// The ancestors' counters outlive containers: a limit that fired between Checkpoint
// and Resume is distinguished from those before.
func TestTheCauseIsResumed(t *testing.T) {
	f := newTree(t, 2)
	f.raise(t, "/pod", oom.Counters{OOM: 5})
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	checkpoint, err := p.(oom.Checkpointer).Checkpoint()
	require.NoError(t, err)
	f.raise(t, "/pod", oom.Counters{OOM: 1})
	f.raise(t, "/pod/c", oom.Counters{OOMKill: 1})
	resumed, err := f.Source().(oom.Resumer).Resume(checkpoint)
	require.NoError(t, err)
	ev, err := resumed.Read()
	require.NoError(t, err)
	require.Equal(t, oom.CausePod, ev.Cause)

	_, err = f.Source().(oom.Resumer).Resume([]byte(strings.Replace(string(checkpoint), "/pod/c", "/pod/d/c", 1)))
	require.ErrorContains(t, err, "ancestors")
}

// A reading can hang, in a file that never answers. What is to be written down
// does not wait for it.
func TestCheckpointWaitsForNoReading(t *testing.T) {
	f := newTree(t, 2)
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	_, err = p.(oom.Checkpointer).Checkpoint()
	require.NoError(t, err)
	counters := f.files("/pod/c")[0]
	require.NoError(t, os.Remove(counters))
	require.NoError(t, unix.Mkfifo(counters, 0o600))
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = p.Read()
	}()
	for err == nil { // until the reading has begun
		_, err = p.(oom.Checkpointer).Checkpoint()
	}
	require.ErrorIs(t, err, oom.ErrReading)
	writer, err := os.OpenFile(counters, os.O_WRONLY, 0) // waits for the reader, and lets it go
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	<-read
	_, err = p.(oom.Checkpointer).Checkpoint()
	require.NoError(t, err)
}

func FuzzResume(f *testing.F) {
	f.Add([]byte(`{"cgroup":"/a/b","inode":7,"base":{"OOM":1},"ancestors":[{"baseline":{},"readable":true}]}`))
	f.Add([]byte(`{"cgroup":"/"}`))
	f.Fuzz(func(t *testing.T, checkpoint []byte) {
		for _, version := range []int{1, 2} {
			s, err := oom.NewCounters(oom.Hierarchy{Version: version, Mount: "/nonexistent"})
			require.NoError(t, err)
			p, err := s.(oom.Resumer).Resume(checkpoint)
			if err != nil {
				continue
			}
			if _, err := p.Read(); err == nil {
				t.Fatalf("read from nowhere after %q", checkpoint)
			}
			again, err := p.(oom.Checkpointer).Checkpoint()
			require.NoError(t, err)
			_, err = s.(oom.Resumer).Resume(again)
			require.NoError(t, err, "%q written again as %q", checkpoint, again)
		}
	})
}
