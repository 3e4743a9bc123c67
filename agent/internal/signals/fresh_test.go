package signals

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/bpf"
)

// TestTooManyAppear: containers for which there is no room are counted and found again, with
// one warning.
func TestTooManyAppear(t *testing.T) {
	const many = 2*maxFresh + 100
	r := newRig(t)
	var all []cgroups.Known
	for n := range many {
		id := fmt.Sprintf("%064x", n)
		path := podPath + "/" + id
		require.NoError(t, os.MkdirAll(filepath.Join(r.o.Inits.Mount, path), 0o755))
		bundle := filepath.Join(r.o.Inits.State, bundlesDir, "k8s.io", id)
		require.NoError(t, os.MkdirAll(bundle, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(bundle, pidFile), []byte(strconv.Itoa(100000+n)), 0o600))
		all = append(all, cgroups.Known{ID: uint64(n + 1), Path: path})
	}
	all = append(all, cgroups.Known{ID: 9999, Path: podPath}, cgroups.Known{ID: 10000, Path: podPath + "/" + fmt.Sprintf("%064x", many), Gone: time.Now()})
	r.o.Inits.All = func() []cgroups.Known { return all }
	for _, k := range all[:many] {
		r.o.Inits.Appeared(k.Path)
	}
	require.EqualValues(t, many-maxFresh, r.o.Inits.Missed())
	looks := 1
	for r.o.Inits.look() {
		require.LessOrEqual(t, len(r.o.Inits.pending), maxFresh)
		r.sayMissed()
		looks++
	}
	require.LessOrEqual(t, looks, 4)
	for n := range many {
		_, ok := r.o.Inits.known.Get(uint32(100000 + n))
		require.True(t, ok, n)
	}
	require.Len(t, r.warned, 1)
	require.ErrorContains(t, r.warned[0], "more than 1024 containers appeared at once: of 1124 more")
}

// TestMissedWithoutInit: a container that has no init takes no room for ever from those that
// are found again.
func TestMissedWithoutInit(t *testing.T) {
	r := newRig(t)
	r.o.Inits.All = func() []cgroups.Known { return []cgroups.Known{{ID: 1, Path: podPath + "/" + containerID}} }
	r.appeared()
	r.o.Inits.pending[0].until = time.Now()
	r.o.Inits.again.Store(true)
	require.False(t, r.o.Inits.look())
	r.o.Inits.again.Store(true)
	require.False(t, r.o.Inits.look(), "it was looked for already")
}

// TestBlind: an agent that can find no init says why, once.
func TestBlind(t *testing.T) {
	var own unix.Stat_t
	require.NoError(t, unix.Stat("/proc/self/ns/pid", &own))
	r := newRig(t)
	state := r.o.Inits.State
	see := func(pids uint32, state string) string {
		r.ledger.meta = bpf.Meta{PIDNS: pids}
		r.o.Inits.State = state
		r.see()
		return r.Blind()
	}
	require.Empty(t, see(uint32(own.Ino), ""), "the node's PIDs")
	require.Contains(t, see(1, ""), "no socket of containerd (--address)")
	require.Contains(t, see(1, ""), "no socket of containerd (--address)")
	require.Contains(t, see(1, state), "there is no folder "+filepath.Join(state, bundlesDir))
	require.NoError(t, os.MkdirAll(filepath.Join(state, bundlesDir), 0o755))
	require.Empty(t, see(1, state))
	require.Len(t, r.warned, 2)
	require.ErrorContains(t, r.warned[0], "the senders of SIGKILL are known for containers of oomwitness's shim alone: the agent is in a PID namespace of its own")
}
