//go:build linux

package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

const (
	groupAnnotation = "oomwitness.io/oom-group"
	codeAnnotation  = "oomwitness.io/oom-exit-code"
	// oomExitCode is what the pods here ask for.
	oomExitCode = 217
	// singleKill is kubelet's setting that leaves the other processes alone.
	singleKill = "singleProcessOOMKill: true"
)

// kindWorkers is a container of an init and four workers, one of which reaches
// the limit; the others wait.
var kindWorkers = faultkit.Kind{Name: "workers", Code: 137, Reason: faultkit.OOMKilled, Mode: "multi 3"}

// kindOutside is killed by somebody on the node, and not by the OOM killer.
var kindOutside = faultkit.Kind{Name: "sigkill", Code: 137, Reason: "Error", Mode: "sleep 1000000"}

// annotated makes a pod with annotations, given as names and values, with a
// container of each kind, and comes back when they wait for their moment.
func (s *suite) annotated(t *testing.T, class string, annotations map[string]string, kinds ...faultkit.Kind) []*subject {
	t.Helper()
	subjects := s.podWith(t, class, func(pod *corev1.Pod) { pod.Annotations = annotations }, kinds...)
	require.NoError(t, s.stand(t.Context(), startTime(1), subjects))
	return subjects
}

// livesOn wants a container to run and to have lost one process, for as long as
// users were promised.
func (s *suite) livesOn(t *testing.T, m *subject) {
	t.Helper()
	id := s.Pods()[m.pod].ID(m.container)
	kill := s.killed(t, id)
	require.Contains(t, strings.Join(faultkit.LogOf(id), "\n"), "the OOM killer ended a process of the container")
	require.False(t, kill.Victim.Init)
	long := 5 * time.Second
	if s.Full {
		long = time.Minute
	}
	_, err := s.Until(t.Context(), long, "its end", func(pods map[string]*Sight) error {
		for _, status := range statuses(pods[m.pod].Pod) {
			if status.Name == m.container && (status.State.Running == nil || status.RestartCount != 0) {
				return nil
			}
		}
		return errors.New("it runs")
	})
	require.ErrorContains(t, err, "it runs", "container %s of %s is %+v", m.container, m.pod, s.Pods()[m.pod].Pod.Status)
}

// killed waits for the ledger to have a victim of a container.
func (s *suite) killed(t *testing.T, id string) faultkit.Kill {
	t.Helper()
	var kills []faultkit.Kill
	require.NoError(t, faultkit.Until(t.Context(), "a kill in "+id, func() (err error) {
		kills, err = faultkit.Kills(t.Context(), id)
		if err == nil && len(kills) == 0 {
			err = errors.New("none in the ledger")
		}
		return err
	}))
	return kills[0]
}

// TestOOMGroupFalse keeps the other workers of a container alive, with kubelet at
// its defaults, which would kill them.
func TestOOMGroupFalse(t *testing.T) {
	s := setUp(t)
	m := s.annotated(t, Class, map[string]string{groupAnnotation: "false"}, kindWorkers)[0]
	require.NoError(t, s.end(t.Context(), m))
	s.livesOn(t, m)
	// The control: the same pod under stock runc.
	control := s.annotated(t, "", map[string]string{groupAnnotation: "false"}, kindWorkers)[0]
	require.NoError(t, s.end(t.Context(), control))
	require.NoError(t, s.over(t.Context(), startTime(1), []*subject{control}))
	require.Equal(t, []string{"OOMKilled 137"}, s.Pods()[control.pod].Ends[control.container])
}

// TestOOMGroupTrue ends all of a container, with a kubelet that would not.
func TestOOMGroupTrue(t *testing.T) {
	s := setUp(t)
	s.setKubelet(t, singleKill)
	m := s.annotated(t, Class, map[string]string{groupAnnotation: "true"}, kindWorkers)[0]
	s.endAll(t, "oom-group-true", []*subject{m})
	control := s.annotated(t, "", map[string]string{groupAnnotation: "true"}, kindWorkers)[0]
	require.NoError(t, s.end(t.Context(), control))
	s.killed(t, s.Pods()[control.pod].ID(control.container))
	require.Empty(t, s.Pods()[control.pod].Ends[control.container], "the control lives on")
}

// TestOOMGroupOfOne holds for the container that it names alone.
func TestOOMGroupOfOne(t *testing.T) {
	s := setUp(t)
	both := s.annotated(t, Class, map[string]string{groupAnnotation + ".workers-0": "false"}, kindWorkers, kindWorkers)
	for _, m := range both {
		require.NoError(t, s.end(t.Context(), m))
	}
	_, err := s.Until(t.Context(), startTime(1), "the other's end", func(pods map[string]*Sight) error {
		if len(pods[both[1].pod].Ends[both[1].container]) == 0 {
			return errors.New("it runs")
		}
		return nil
	})
	require.NoError(t, err)
	s.livesOn(t, both[0])
	s.judge(t, "oom-group-of-one", both[1:])
}

// TestResizeKeepsThePolicy raises the memory limit of a running container. kubelet then sets
// memory.oom.group again.
func TestResizeKeepsThePolicy(t *testing.T) {
	s := setUp(t)
	m := s.annotated(t, Class, map[string]string{groupAnnotation: "false"}, kindWorkers)[0]
	const resized = 2 * faultkit.Limit
	require.NoError(t, s.Resize(t.Context(), m.pod, m.container, resized))
	_, err := s.Until(t.Context(), startTime(1), "the new limit", func(pods map[string]*Sight) error {
		for _, status := range pods[m.pod].Pod.Status.ContainerStatuses {
			if status.Resources != nil && status.Resources.Limits.Memory().Value() == resized {
				return nil
			}
		}
		return fmt.Errorf("status %+v", pods[m.pod].Pod.Status)
	})
	require.NoError(t, err)
	id := s.Pods()[m.pod].ID(m.container)
	require.Equal(t, "0", cgroupFile(t, id, "memory.oom.group"))
	require.Equal(t, fmt.Sprint(resized), cgroupFile(t, id, "memory.max"))
	require.NoError(t, s.end(t.Context(), m))
	require.EqualValues(t, resized, s.killed(t, id).Domain.Size)
	s.livesOn(t, m)
}

// cgroupFile reads a file of a container's cgroup.
func cgroupFile(t *testing.T, id, name string) string {
	t.Helper()
	pid, err := faultkit.InitPid(id)
	require.NoError(t, err)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	require.NoError(t, err)
	_, dir, found := strings.Cut(strings.TrimSpace(string(text)), "0::")
	require.True(t, found, "%s", text)
	text, err = os.ReadFile(filepath.Join("/sys/fs/cgroup", dir, name))
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

// TestOOMExitCode has the status that the pod asked for shown for an OOM, and for
// nothing else.
func TestOOMExitCode(t *testing.T) {
	s := setUp(t)
	oom := faultkit.Kind{Name: "oom", Code: oomExitCode, Reason: faultkit.OOMKilled, Mode: "hog"}
	annotations := map[string]string{codeAnnotation: fmt.Sprint(oomExitCode)}
	subjects := s.annotated(t, Class, annotations, oom,
		faultkit.Kind{Name: "exit1", Code: 1, Reason: "Error", Mode: "exit 1"},
		faultkit.Kind{Name: "exit0", Reason: "Completed", Mode: "exit 0"},
		faultkit.Kind{Name: "worker-died", Code: oomExitCode, Reason: faultkit.OOMKilled, Mode: "child-oom-exit 1"},
	)
	s.endAll(t, "oom-exit-code", subjects)
	outside := s.annotated(t, Class, annotations, kindOutside)
	s.killFromOutside(t, outside[0])
	require.NoError(t, s.over(t.Context(), startTime(1), outside))
	s.judge(t, "oom-exit-code", outside)
}

// killFromOutside ends a container as somebody on the node would.
func (s *suite) killFromOutside(t *testing.T, m *subject) {
	t.Helper()
	require.NoError(t, s.end(t.Context(), m)) // it sleeps now
	pid, err := faultkit.InitPid(s.Pods()[m.pod].ID(m.container))
	require.NoError(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
}

// TestBadAnnotation wants a pod that asks for what there is not to be refused, in
// words that help.
func TestBadAnnotation(t *testing.T) {
	s := setUp(t)
	for name, c := range map[string]struct{ annotation, value, allowed string }{
		"group":   {groupAnnotation, "yes", `"true", "false"`},
		"code":    {codeAnnotation + ".app", "256", "1 to 255"},
		"unknown": {"oomwitness.io/oom-grup", "true", "oomwitness.io/oom-group"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := NewPod("bad-"+name, Class, NewContainer("app", faultkit.Limit, "/workload", "exit", "0"))
			pod.Annotations = map[string]string{c.annotation: c.value}
			require.NoError(t, s.Create(t.Context(), pod))
			require.NoError(t, faultkit.Until(t.Context(), "an event", func() error {
				messages, err := s.Messages(t.Context(), pod.Name, "FailedCreatePodSandBox")
				if err != nil {
					return err
				}
				for _, message := range messages {
					if strings.Contains(message, c.annotation) && strings.Contains(message, c.allowed) {
						return nil
					}
				}
				return fmt.Errorf("messages %q", messages)
			}))
			require.Equal(t, corev1.PodPending, s.Pods()[pod.Name].Pod.Status.Phase)
		})
	}
}
