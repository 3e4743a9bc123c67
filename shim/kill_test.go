//go:build linux

package shim

import (
	"testing"
	"testing/synctest"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// CRI kills what has ended before it deletes it. runc is asked only where
// something may have outlived init.
func TestAKillAfterTheExit(t *testing.T) {
	for name, tc := range map[string]struct {
		namespaces string
		asked      bool
	}{
		"own":         {`{"type":"ipc"},{"type":"pid"}`, false},
		"another's":   {`{"type":"pid","path":"/proc/1/ns/pid"}`, true},
		"the host's":  {`{"type":"ipc"}`, true},
		"none at all": {``, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				kills := 0
				b.task.onKill = func() { kills++ }
				bundle := annotated(t, nil, `"linux":{"namespaces":[`+tc.namespaces+`]}`)
				_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: bundle})
				require.NoError(t, err)
				kill := func(all bool) error {
					_, err := b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGKILL), All: all})
					return err
				}
				require.NoError(t, kill(true), "it runs")
				require.Equal(t, 1, kills)
				ends(t, b)
				require.NoError(t, kill(true))
				require.Equal(t, tc.asked, kills == 2)
				require.Equal(t, !tc.asked, errdefs.IsNotFound(errgrpc.ToNative(kill(false))))
				require.Equal(t, tc.asked, kills == 3)
			})
		})
	}
}
