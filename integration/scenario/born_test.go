//go:build linux

package scenario

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/mix"
)

const bornDead = "runc's init was OOM-killed before it ran the container's program: runc:["

// TestLimitTooLow creates containers that may have less memory than runc's init needs.
// The error names victim, limit and what filled it. On cgroup v1 the kernel refuses such a
// limit, and kills nobody.
func TestLimitTooLow(t *testing.T) {
	r := runner(t)
	needV2(t)
	freshLedger(t)
	c := mix.Case{Name: "too-low", Container: mix.Container{Args: []string{"exit", "0"}, Limit: 2 * mix.MiB}}
	for range runs(t) {
		_, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
		require.ErrorContains(t, err, bornDead)
		t.Log(err)
		require.ErrorContains(t, err, "at the limit of its own cgroup: ")
		require.ErrorContains(t, err, " of 2.0 MiB")
	}
}

// TestFullPod creates a container in a pod whose memory is full of a file on tmpfs, as an
// emptyDir of medium Memory is.
func TestFullPod(t *testing.T) {
	if os.Getenv("CAUSALITY_SLOW") == "" {
		t.Skip("may find nothing to kill for as long as the pod is full: CAUSALITY_SLOW=1, as make test-full has it")
	}
	r := runner(t)
	needV2(t)
	freshLedger(t)
	const pod, full = "podfull", 64
	holder := mix.Case{
		Name: "holder", Pod: pod, PodLimit: full * mix.MiB,
		Container: mix.Container{
			Args: []string{"fill", "/tmp/file"}, Score: -1000, Output: true,
			Mounts: []specs.Mount{{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1g"}}},
		},
	}
	p, err := r.Prepare(t.Context(), mix.Ours, holder)
	require.NoError(t, err)
	t.Cleanup(func() { p.Discard(t.Context()) })
	require.NoError(t, p.Start(t.Context()))
	c := mix.Case{Name: "in-full-pod", Pod: pod, Container: mix.Container{Args: []string{"exit", "0"}}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err = r.Run(ctx, mix.Ours, c, mix.ByWait)
	require.ErrorContains(t, err, bornDead)
	t.Log(err)
	require.ErrorContains(t, err, "at the limit of the cgroup /kubepods")
	require.ErrorContains(t, err, " of 64.0 MiB: shared memory 6")
}
