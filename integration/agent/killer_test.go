//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/why"
)

// TestEarlyOOM has Debian's earlyoom kill the container of a pod.
func TestEarlyOOM(t *testing.T) {
	n := setUp(t)
	root := faultkit.DebianRoot(t)
	const hold = 512 << 20
	n.killedBy(t, "earlyoom", fmt.Sprintf("gulp %d", hold>>20), func(t *testing.T, _ *container) {
		t.Helper()
		faultkit.EarlyOOM(t, root, hold)
	})
}

// TestSystemdOOMD has Debian's systemd-oomd kill the container of a pod. The administrator has
// it watch all pods, and the container reclaims memory all the time. At a lower limit the
// pressure that is left after the kill would be the end of the pod's sandbox too.
func TestSystemdOOMD(t *testing.T) {
	n := setUp(t)
	if _, err := os.Stat("/sys/fs/cgroup/kubepods.slice"); err != nil {
		t.Skip("needs cgroups that systemd manages, DRIVER=systemd: ", err)
	}
	faultkit.SystemdOOMD(t, faultkit.DebianRoot(t))
	set := func(unit string, properties ...string) {
		require.NoError(t, faultkit.Run(context.WithoutCancel(t.Context()), "systemctl", append([]string{"set-property", "--runtime", unit}, properties...)...))
	}
	t.Cleanup(func() { set("kubepods.slice", "ManagedOOMMemoryPressure=auto") })
	set("kubepods.slice", "ManagedOOMMemoryPressure=kill", "ManagedOOMMemoryPressureLimit=15%")
	n.killedBy(t, "systemd-oomd", "hog", func(t *testing.T, m *container) {
		t.Helper()
		set(filepath.Base(n.cgroup(t, m)), "MemoryHigh=24M", "MemorySwapMax=infinity")
	})
}

// killedBy has somebody on the node kill the container of a pod, which runs a mode after it was
// made ready. The killer is named as the sender by the pod's Event and by /api/v1/why: by the
// verdict of our shim, and by the ledger where the stock shim runs the container. Neither
// kubelet nor the agent takes the kill for one of the OOM killer.
func (n *node) killedBy(t *testing.T, comm, mode string, ready func(*testing.T, *container)) {
	t.Helper()
	for name, change := range map[string]func(*corev1.Pod){
		"ours":  bestEffort,
		"stock": func(pod *corev1.Pod) { bestEffort(pod); pod.Spec.RuntimeClassName = nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := n.pod(t, comm+"-"+name, change)
			n.init(t, m) // the container runs, also by the API
			ready(t, m)
			began := time.Now()
			m.run(t, mode)
			event := n.eventOf(t, m.pod, "Killed", "Process "+comm+" (pid ", "sent SIGKILL to process 1 of the container")
			faultkit.Keep(t, fmt.Sprintf("agent killer=%s shim=%s ms=%d event=%q", comm, name, took(began), event))
			require.Equal(t, "Error 137", n.ended(t, m))
			kills, err := n.Messages(t.Context(), m.pod, "OOMKilling")
			require.NoError(t, err)
			require.Empty(t, kills)
			run := n.why(t, m)
			require.Equal(t, why.EndedSignal, run.Verdict.Ended)
			require.NotNil(t, run.Sender)
			require.Equal(t, comm, run.Sender.Comm)
		})
	}
}

// ended waits for the end of a container by the API, and returns its reason and status.
func (n *node) ended(t *testing.T, m *container) (end string) {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), "the end of "+m.pod, func() error {
		pod, err := n.Get(t.Context(), m.pod)
		if err != nil {
			return err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if is := status.State.Terminated; is != nil && status.Name == m.name {
				end = fmt.Sprintf("%s %d", is.Reason, is.ExitCode)
				return nil
			}
		}
		return fmt.Errorf("%v", pod.Status.ContainerStatuses)
	}))
	return end
}

// why waits for the agent's answer to why a container has ended.
func (n *node) why(t *testing.T, m *container) (run why.Run) {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), "why "+m.pod+" has ended", func() error {
		body, err := Get(t.Context(), "/api/v1/why?pod="+m.pod)
		if err != nil {
			return err
		}
		var d why.Document
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			return err
		}
		if len(d.Runs) == 0 || d.Runs[0].Verdict == nil {
			return errors.New(body)
		}
		run = d.Runs[0]
		return nil
	}))
	return run
}
