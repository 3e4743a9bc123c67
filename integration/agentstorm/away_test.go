//go:build linux

package agentstorm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// away is an agent that is ended, and started again with the same state.
type away struct {
	*podSet
	plane   *controlplane.Plane
	options agent.Options
	agent   *agent.Process
}

// TestKillWhileAway: a kill while no agent ran is reported with all names by the next, also
// where the cgroups were removed by then, as those of a Job's pod that has ended. Of a pod
// that the API server has no more the UID and the container's ID are known. Without what
// the first agent has left nothing is.
func TestKillWhileAway(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	program, pins := shimtest.Command(t), loaded(t)
	plane := controlplane.Start(t)
	w := &away{podSet: newPods(t, plane), plane: plane, options: agent.Options{
		Program: program, Kubeconfig: plane.Kubeconfig, Node: nodeName, State: t.TempDir(), Flags: append(pins, "--address", "", "--kubelet-cgroup-root", cgroupRoot),
	}}
	old, err := w.add(t.Context(), "old")
	require.NoError(t, err)
	goes, err := w.add(t.Context(), "goes")
	require.NoError(t, err)
	w.start(t)
	young, err := w.add(t.Context(), "young")
	require.NoError(t, err)
	pids := w.killWhileAway(t, old, goes, young)
	require.NoError(t, old.removeCgroups(t.Context()))
	require.NoError(t, young.removeCgroups(t.Context()))
	require.NoError(t, w.remove(t.Context(), goes))
	w.start(t)
	for i, p := range map[int]testPod{0: old, 2: young} {
		v := w.victim(t, pids[i])
		require.NotNil(t, v.Pod, p.name)
		require.NotNil(t, v.Container, p.name)
		require.Equal(t, []string{p.name, "default", p.uid, "app", "registry.invalid/app:1"},
			[]string{v.Pod.Name, v.Pod.Namespace, v.Pod.UID, v.Container.Name, v.Container.Image})
		require.NoError(t, faultkit.Until(t.Context(), "an Event on "+p.name, func() error { return w.reported(t, p) }))
		n, err := agent.Counted(t.Context(), `namespace="default"`, `pod="`+p.name+`"`, `container="app"`)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
	}

	v := w.victim(t, pids[1])
	require.Equal(t, &agenttest.Pod{UID: goes.uid}, v.Pod)
	require.Equal(t, &agenttest.Container{ID: filepath.Base(goes.container)}, v.Container)

	lost, err := w.add(t.Context(), "lost")
	require.NoError(t, err)
	pids = w.killWhileAway(t, lost)
	require.NoError(t, w.remove(t.Context(), lost))
	require.NoError(t, os.Remove(filepath.Join(w.options.State, "checkpoint")))
	w.start(t)
	require.Nil(t, w.victim(t, pids[0]).Pod)
	require.NoError(t, w.agent.End(syscall.SIGTERM))
}

func (w *away) start(t *testing.T) {
	t.Helper()
	var err error
	w.agent, err = agent.Start(t.Context(), w.options)
	require.NoError(t, err)
}

// killWhileAway ends the agent by SIGKILL, once it has written down the cgroups, and then
// has the OOM killer end a process in each. It returns their PIDs.
func (w *away) killWhileAway(t *testing.T, pods ...testPod) []uint32 {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), "the agent to keep its cgroups", func() error {
		data, err := os.ReadFile(filepath.Join(w.options.State, "checkpoint"))
		for _, p := range pods {
			if !strings.Contains(string(data), filepath.Base(p.container)) {
				err = errors.Join(err, errors.New(p.name))
			}
		}
		return err
	}))
	require.NoError(t, w.agent.End(syscall.SIGKILL))
	var pids []uint32
	for _, p := range pods {
		pid := oomtest.KillSmallIn(t, p.container)
		require.NotZero(t, pid)
		pids = append(pids, uint32(pid))
	}
	return pids
}

// victim finds one in the agent's log.
func (w *away) victim(t *testing.T, pid uint32) agenttest.Victim {
	t.Helper()
	line, err := w.agent.Find(t.Context(), "a victim", func(l *agent.Line) bool { return l.Victims[0].PID == pid })
	require.NoError(t, err)
	return line.Victims[0]
}

// reported returns an error until there is an Event on a pod.
func (w *away) reported(t *testing.T, p testPod) error {
	list, err := w.plane.Client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{
		FieldSelector: "reason=OOMKilling,involvedObject.name=" + p.name + ",involvedObject.uid=" + p.uid,
	})
	if err == nil && (len(list.Items) != 1 || list.Items[0].Count != 1) {
		err = errors.New("none")
	}
	return err
}
