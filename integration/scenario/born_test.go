//go:build linux

package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
// emptyDir of medium Memory is. A little is left: in a pod without one free page the kernel
// makes no cgroup for the container, and the file's owner, which cannot be killed, faults for
// ever. With more left, runc's init reads pages of programs again and again.
func TestFullPod(t *testing.T) {
	if os.Getenv("CAUSALITY_SLOW") == "" {
		t.Skip("may find nothing to kill for two minutes: CAUSALITY_SLOW=1, as make test-full has it")
	}
	r := runner(t)
	needV2(t)
	freshLedger(t)
	const pod, left = "podfull", 256 << 10
	holder := mix.Case{
		Name: "holder", Pod: pod,
		Container: mix.Container{
			Args: []string{"fill", "/tmp/file", "62"}, Score: -1000, Output: true,
			Mounts: []specs.Mount{{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1g"}}},
		},
	}
	p, err := r.Prepare(t.Context(), mix.Ours, holder)
	require.NoError(t, err)
	t.Cleanup(func() { p.Discard(context.WithoutCancel(t.Context())) })
	require.NoError(t, p.Start(t.Context()))
	dir, err := cgroupOf(p.Pid())
	require.NoError(t, err)
	full := usageOf(t, filepath.Dir(dir)) + left
	require.NoError(t, r.Driver.LimitPod(t.Context(), pod, full))
	c := mix.Case{Name: "in-full-pod", Pod: pod, Container: mix.Container{Args: []string{"exit", "0"}}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err = r.Run(ctx, mix.Ours, c, mix.ByWait)
	require.ErrorContains(t, err, bornDead)
	t.Log(err)
	require.ErrorContains(t, err, "at the limit of the cgroup /kubepods")
	require.ErrorContains(t, err, fmt.Sprintf(" of %.1f MiB: shared memory 62.", float64(full)/mix.MiB))
}

// usageOf returns how much memory a cgroup and all below it use, in bytes.
func usageOf(t *testing.T, dir string) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "memory.current"))
	require.NoError(t, err)
	usage, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	require.NoError(t, err)
	return usage
}
