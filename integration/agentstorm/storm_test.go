//go:build linux

// Package agentstorm has the real agent meet a storm of the real OOM killer on this
// machine, with a real API server. There is no kubelet: the pods are objects of the
// API, bound to this node, whose cgroups and processes the test makes in kubelet's
// form.
package agentstorm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

const (
	nodeName  = "node-a"
	podLimit  = 4 << 20 // bytes
	onPods    = 200
	kills     = 1000
	inWorkers = 4
	// maxResident is what the agent may have of its own with this many pods, KiB.
	maxResident = 30 << 10
)

// lives of the agent: AGENT_LIVES, 10 if it is not set.
func lives(t *testing.T) int {
	t.Helper()
	text := os.Getenv("AGENT_LIVES")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "environment variable AGENT_LIVES")
	return n
}

// TestStorm: a thousand kills over 200 pods while the agent is ended by SIGKILL at
// random moments. Each is counted once, by metrics and by Events, with no more
// Events than pods and windows of ten minutes.
func TestStorm(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	program, pins := shimtest.Command(t), loaded(t)
	plane := controlplane.Start(t)
	dirs := makePods(t, plane, onPods)
	o := agent.Options{
		Program: program, Kubeconfig: plane.Kubeconfig, Node: nodeName, State: t.TempDir(),
		Flags: append(pins, "--address", "", "--kubelet-cgroup-root", cgroupRoot),
	}
	lives, seed := lives(t), rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	began := time.Now()
	left := make(chan string, kills)
	for i := range kills {
		left <- dirs[i%onPods]
	}
	close(left)
	var storm sync.WaitGroup
	var dead atomic.Int64
	for range inWorkers {
		storm.Go(func() {
			for dir := range left {
				if t.Context().Err() != nil {
					return // the test has failed
				}
				oomtest.KillSmallIn(t, dir)
				dead.Add(1)
			}
		})
	}
	t.Cleanup(storm.Wait)
	amid := 0 // lives that ended while others were killed
	a, err := agent.Start(t.Context(), o)
	require.NoError(t, err)
	for range lives {
		require.NoError(t, faultkit.Pause(t.Context(), time.Duration(random.IntN(1000))*time.Millisecond))
		require.NoError(t, a.End(syscall.SIGKILL))
		if dead.Load() < kills {
			amid++
		}
		a, err = agent.Start(t.Context(), o)
		require.NoError(t, err)
	}
	storm.Wait()
	counted := wait(t, "all kills to be counted", func() (int, error) {
		n, err := agent.Counted(t.Context(), `namespace="default"`)
		return int(n), err
	})
	var events int
	reported := wait(t, "all kills to be reported", func() (sum int, err error) {
		sum, events, err = eventCounts(t.Context(), plane)
		return sum, err
	})
	var memory, own int
	require.NoError(t, faultkit.Until(t.Context(), "the agent to be small", func() error {
		if memory, own = resident(t, a.PID()); own > maxResident {
			return fmt.Errorf("%d KiB of its own", own)
		}
		return nil
	}))
	require.NoError(t, a.End(syscall.SIGTERM))
	t.Logf("metric=agent-storm kills=%d pods=%d lives=%d amid=%d counted=%d reported=%d events=%d ms=%d rss_kib=%d anon_kib=%d seed=%d",
		kills, onPods, lives, amid, counted, reported, events, time.Since(began).Milliseconds(), memory, own, seed)
	require.Equal(t, kills, counted)
	require.Equal(t, kills, reported)
	require.LessOrEqual(t, events, onPods*(1+int(time.Since(began)/(10*time.Minute))+1))
}

// wait waits until all kills are there, and returns what there is.
func wait(t *testing.T, what string, ask func() (int, error)) (n int) {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), what, func() (err error) {
		if n, err = ask(); err == nil && n < kills {
			err = fmt.Errorf("%d of %d", n, kills)
		}
		return err
	}))
	return n
}

// loaded loads a ledger of the test's own, and returns the flags for it.
func loaded(t *testing.T) []string {
	t.Helper()
	bpffs := filepath.Join(t.TempDir(), "bpf")
	require.NoError(t, os.Mkdir(bpffs, 0o700))
	if err := unix.Mount("bpf", bpffs, "bpf", 0, "mode=0700"); err != nil {
		t.Skipf("needs a BPF file system: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(bpffs, unix.MNT_DETACH)) })
	pins := []string{"--dir", filepath.Join(bpffs, "ledger"), "--lock-dir", t.TempDir()}
	require.NoError(t, faultkit.Run(t.Context(), shimtest.Command(t), append([]string{"load"}, pins...)...))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, faultkit.Run(ctx, shimtest.Command(t), append([]string{"unload"}, pins...)...))
	})
	return pins
}

// eventCounts sums the counts of all OOM Events.
func eventCounts(ctx context.Context, plane *controlplane.Plane) (sum, events int, err error) {
	list, err := plane.Client.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
		FieldSelector: "reason=OOMKilling,involvedObject.kind=Pod",
	})
	if err != nil {
		return 0, 0, err
	}
	for _, e := range list.Items {
		sum += int(e.Count)
	}
	return sum, len(list.Items), nil
}

// resident is how much of a process is in memory, KiB, and how much of that is its
// own: the rest are pages of its program, which the kernel takes back when it
// wants. proc(5), statm.
func resident(t *testing.T, pid int) (all, own int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	require.NoError(t, err)
	var size, pages, shared int
	_, err = fmt.Sscan(string(data), &size, &pages, &shared)
	require.NoError(t, err)
	kib := os.Getpagesize() / 1024
	return pages * kib, (pages - shared) * kib
}
