package bpf_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

func FuzzResume(f *testing.F) {
	f.Add([]byte(`{"tgid":7,"startTicks":8,"armedNs":9,"cgroup":10,"above":[1],"base":2,"limits":{"cgroup":"/a"}}`))
	f.Add([]byte(`{"tgid":7,"cgroup":10}`))
	dir := filepath.Join(f.TempDir(), "none")
	f.Fuzz(func(t *testing.T, checkpoint []byte) {
		s := bpf.NewSource(dir, oom.Hierarchy{Version: 2, Mount: "/nonexistent"})
		p, err := s.Resume(checkpoint)
		if err != nil {
			return
		}
		_, err = p.Read()
		require.ErrorIs(t, err, bpf.ErrAbsent)
		again, err := p.(oom.Checkpointer).Checkpoint()
		require.NoError(t, err)
		_, err = s.Resume(again)
		require.NoError(t, err, "%q written again as %q", checkpoint, again)
	})
}
