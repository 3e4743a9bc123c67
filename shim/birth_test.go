//go:build linux

package shim

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// witness is a fakeSource that has seen kills.
type witness struct {
	*fakeSource
	killed []oom.Killed
	err    error
}

func (w *witness) KilledBelow(shim int, _ time.Time) ([]oom.Killed, error) {
	if shim != os.Getpid() {
		return nil, errors.New("asked for another's")
	}
	return w.killed, w.err
}

// A Create, a Start or the start of an exec that failed since runc's init was OOM-killed
// says so; its code stays upstream's.
func TestBornDead(t *testing.T) {
	kill := func(comm string, pid int) oom.Killed {
		return oom.Killed{
			Victim: oom.Victim{Comm: comm, PID: pid}, Own: true, Memory: &oom.Memory{Usage: 4 << 20, Limit: 4 << 20, Shmem: 3 << 20},
		}
	}
	const says = "runc's init was OOM-killed before it ran the container's program: runc:[2:INIT] (pid 812) at the limit of its own cgroup: 4.0 MiB of 4.0 MiB: shared memory 3.0 MiB"
	for name, tc := range map[string]struct {
		killed []oom.Killed
		err    error
		says   bool // beside upstream's error
	}{
		"killed":             {[]oom.Killed{kill("runc:[1:CHILD]", 811), kill("runc:[2:INIT]", 812)}, nil, true},
		"nobody":             {nil, nil, false},
		"a container's":      {[]oom.Killed{kill("java", 812)}, nil, false},
		"the ledger is away": {[]oom.Killed{kill("runc:[2:INIT]", 812)}, errors.New("absent"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(b *bench, o *Options) {
					o.Sources = []oom.Source{&witness{fakeSource: b.source, killed: tc.killed, err: tc.err}}
				})
				b.create(t, "c")
				_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: annotated(t, nil)}) // there is one
				require.True(t, errdefs.IsAlreadyExists(errgrpc.ToNative(err)), "%v", err)
				require.Equal(t, tc.says, strings.Contains(err.Error(), says), "%v", err)
				_, err = b.Start(b.ctx, &taskAPI.StartRequest{ID: "other", ExecID: "e"})
				require.True(t, errdefs.IsNotFound(errgrpc.ToNative(err)), "%v", err)
				require.Equal(t, tc.says, strings.Contains(err.Error(), says), "%v", err)
				require.Equal(t, tc.says, b.counts.of("init OOM-killed before its start") == 2)
			})
		})
	}
}
