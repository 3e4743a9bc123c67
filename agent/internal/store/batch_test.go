package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// TestBatch: of OOM events that are written together, and cut off anywhere, those
// are counted whose lines are whole, and no other.
func TestBatch(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "journal")
	j, _ := open(t, dir, boot)
	before, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, j.Add(true, one(1), one(2), one(3)))
	require.NoError(t, j.Close())
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(whole, before))
	for cut := len(before); cut <= len(whole); cut++ {
		if cut%41 != 0 && whole[cut-1] != '\n' && whole[min(cut, len(whole)-1)] != '\n' {
			continue // each is a journal that is synced
		}
		require.NoError(t, os.WriteFile(name, whole[:cut], 0o600))
		j, _ := open(t, dir, boot)
		there := bytes.Count(whole[len(before):cut], []byte("\n"))
		for n := 1; n <= 3; n++ {
			require.Equal(t, n <= there, j.Has(record(n)), "victim %d of what is cut at %d", n, cut)
		}
		require.Len(t, j.Open(), there)
		require.NoError(t, j.Close())
	}
}

// TestLargeBatch: more than one write takes, and one that no line has room for among
// them: all are counted, and kept but for that one.
func TestLargeBatch(t *testing.T) {
	long := one(1000)
	for n := 1001; n < 1000+events.MaxVictims; n++ {
		e := victim(n)
		e.Cgroup.Path = strings.Repeat("/\x01", 2000)
		long.Victims = append(long.Victims, e)
	}
	for name, at := range map[string]int{"none is long": -1, "the first": 0, "amid": 90, "the last": 100} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, _ := open(t, dir, boot)
			var list, kept []events.OOMEvent
			for n := range 101 {
				in := one(n + 1)
				in.Victims[0].Cgroup.Path = strings.Repeat("/a", 1000)
				if n == at {
					in = long
				} else {
					kept = append(kept, in)
				}
				list = append(list, in)
			}
			require.NoError(t, j.Add(true, list...))
			require.NoError(t, j.Add(false, one(500)))
			j = again(t, dir, boot, j)
			for _, in := range list {
				for _, v := range in.Victims {
					require.True(t, j.Has(record(int(v.PID))), v.PID)
				}
			}
			require.True(t, j.Has(record(500)))
			require.EqualValues(t, 102, j.Totals().OOMEvents)
			require.Equal(t, kept, j.Open())
		})
	}
}
