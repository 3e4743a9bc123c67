//go:build linux

package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// Each has lost a child to the OOM killer before it is stopped: one ends at SIGTERM, the
// other ignores that, and ends by SIGKILL.
var (
	kindAtTerm = faultkit.Kind{Name: "at-term", Code: 143, Reason: "Error", Before: []string{"/workload", "child-oom-sleep"}}
	kindAtKill = faultkit.Kind{Name: "at-kill", Code: 137, Reason: "Error", Before: []string{"/workload", "child-oom-pause"}}
)

// stopGrace is how long kubelet waits between SIGTERM and SIGKILL, in seconds.
const stopGrace = 2

// stopping is a reason that kubelet has to stop a pod.
type stopping struct {
	name  string
	kinds []faultkit.Kind
	// ready makes the node ready for the pod, and returns how the pod is changed.
	ready   func(*testing.T) func(*corev1.Pod)
	stop    func(t *testing.T, pod string)
	reason  string // of the pod's status, "" for any
	evicted bool
}

// TestStoppedByKubelet has kubelet stop containers that have lost a child to the OOM killer,
// for each reason that kubelet has. No stop is an OOM, by the shim's verdict and in all that
// the API shows.
func TestStoppedByKubelet(t *testing.T) {
	s := setUp(t)
	asIs := func(*testing.T) func(*corev1.Pod) { return func(*corev1.Pod) {} }
	both := []faultkit.Kind{kindAtTerm, kindAtKill}
	for _, c := range []stopping{
		{"kubectl-delete", both, asIs, s.deleteByClient, "", false},
		{"liveness", both, probed, failProbes, "", false},
		{"preemption", both, s.takesCPU, s.preempt, "", false},
		{"node-shutdown", both, s.delaysShutdown, s.shutDown, "Terminated", false},
		{"eviction-soft", both, asIs, s.pressure(softEviction), "Evicted", true},
		// kubelet waits for one second, which is too short for an answer to SIGTERM on an
		// emulated machine.
		{"eviction-hard", both[1:], asIs, s.pressure(hardEviction), "Evicted", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []*subject
			for run := range s.Runs { // each puts the node back as it was
				t.Run(fmt.Sprint(run), func(t *testing.T) { all = append(all, s.stopOne(t, c)...) })
			}
			s.judge(t, "stopped-by-"+c.name, all)
			for _, m := range all {
				s.wantEnded(t, m, oom.EndedStopped)
			}
		})
	}
}

// stopOne makes a pod with a container of each kind, and has the pod stopped when each has
// lost its child.
func (s *suite) stopOne(t *testing.T, c stopping) []*subject {
	t.Helper()
	change := c.ready(t)
	m := s.podWith(t, s.class(), func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{groupAnnotation: "false"} // else kubelet has the kernel end all of a container
		pod.Spec.TerminationGracePeriodSeconds = new(int64(stopGrace))
		change(pod)
	}, c.kinds...)
	_, err := s.Until(t.Context(), startTime(1), "the pod to run", func(pods map[string]*Sight) error {
		if sight := pods[m[0].pod]; sight == nil || sight.Pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("pod %s does not run", m[0].pod)
		}
		return nil
	})
	require.NoError(t, err)
	for _, one := range m {
		one.evicted = c.evicted
		s.killed(t, s.Pods()[one.pod].ID(one.container))
	}
	c.stop(t, m[0].pod)
	require.NoError(t, s.over(t.Context(), startTime(1), m))
	if c.reason != "" {
		require.Equal(t, c.reason, s.Pods()[m[0].pod].Pod.Status.Reason)
	}
	return m
}

// exit returns what our shim has decided of a container.
func (s *suite) exit(t *testing.T, m *subject) exits.Exit {
	t.Helper()
	e, err := faultkit.Exit(t.Context(), s.Pods()[m.pod].ID(m.container))
	require.NoError(t, err, "%s in %s", m.container, m.pod)
	return e
}

// wantEnded wants our shim's verdict to say what has ended a container, and the status.
func (s *suite) wantEnded(t *testing.T, m *subject, ended oom.Ended) {
	t.Helper()
	if s.shim == "stock" {
		return
	}
	e := s.exit(t, m)
	require.Equal(t, ended, e.Verdict.Ended, "%s in %s: %+v", m.container, m.pod, e)
	require.Equal(t, ended == oom.EndedOOM, e.Verdict.OOMKilled)
	require.EqualValues(t, m.Code, e.Reported)
}

// deleteByClient deletes a pod, as kubectl delete does.
func (s *suite) deleteByClient(t *testing.T, pod string) {
	t.Helper()
	require.NoError(t, s.Delete(t.Context(), pod, stopGrace))
}

// failFile in the folder of a pod's control makes its probes fail.
const failFile = "fail"

// probed returns a change that gives each container of a pod a liveness probe.
func probed(t *testing.T) func(*corev1.Pod) {
	t.Helper()
	return func(pod *corev1.Pod) {
		for i := range pod.Spec.Containers {
			dir, err := faultkit.MakeControl(fmt.Sprintf("%s-probe%d", pod.Name, i))
			require.NoError(t, err)
			MountControl(pod, i, dir)
			pod.Spec.Containers[i].LivenessProbe = &corev1.Probe{
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{
					Command: []string{"/bin/sh", "-c", "[ ! -e " + faultkit.ControlMount + "/" + failFile + " ]"},
				}},
				// An emulated machine takes seconds for an exec.
				PeriodSeconds: 2, TimeoutSeconds: 60, FailureThreshold: 1,
			}
		}
	}
}

// failProbes makes the liveness probes of a pod fail.
func failProbes(t *testing.T, pod string) {
	t.Helper()
	for i := range 2 {
		dir := filepath.Join(faultkit.Controls, fmt.Sprintf("%s-probe%d", pod, i))
		require.NoError(t, os.WriteFile(filepath.Join(dir, failFile), nil, 0o644))
	}
}

// mostCPU is more than half of the CPU time that the node has for pods.
func mostCPU(t *testing.T, s *suite) corev1.ResourceList {
	t.Helper()
	node, err := s.core.Nodes().Get(t.Context(), nodeName, metav1.GetOptions{})
	require.NoError(t, err)
	return corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(node.Status.Allocatable.Cpu().MilliValue()*6/10, resource.DecimalSI)}
}

// takesCPU returns a change that has a pod ask for most of the node's CPU time.
func (s *suite) takesCPU(t *testing.T) func(*corev1.Pod) {
	t.Helper()
	cpu := mostCPU(t, s)
	return func(pod *corev1.Pod) {
		first := &pod.Spec.Containers[0].Resources
		cpu[corev1.ResourceMemory] = first.Limits[corev1.ResourceMemory]
		first.Requests = cpu
	}
}

// preempt makes a pod that is more important, and for which the node has no room beside the
// other: the scheduler has that one stopped.
func (s *suite) preempt(t *testing.T, victim string) {
	t.Helper()
	name := victim + "-preemptor"
	pod := NewPod(name, s.class(), NewContainer("app", faultkit.Limit, faultkit.KindStop.Before...))
	s.takesCPU(t)(pod)
	pod.Spec.PriorityClassName = "system-cluster-critical" // which each cluster has
	require.NoError(t, s.Create(t.Context(), pod))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, s.Delete(ctx, name, 1))
		_, err := s.Until(ctx, startTime(1), "the preemptor to go", func(pods map[string]*Sight) error {
			if !pods[name].Gone {
				return errors.New("it is there")
			}
			return nil
		})
		require.NoError(t, err)
	})
}

// delaysShutdown has kubelet delay a shutdown of the node, until the test's end. The guest
// has masked logind, without which kubelet looks for no shutdown. A pod that kubelet admits
// after the signal would be rejected: the pod is made by a kubelet that is ready.
func (s *suite) delaysShutdown(t *testing.T) func(*corev1.Pod) {
	t.Helper()
	const mask = "/etc/systemd/system/systemd-logind.service"
	require.NoError(t, os.Remove(mask))
	require.NoError(t, faultkit.Run(t.Context(), "systemctl", "daemon-reload"))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, faultkit.Run(ctx, "systemctl", "stop", "systemd-logind.service"))
		require.NoError(t, os.Symlink("/dev/null", mask))
		require.NoError(t, faultkit.Run(ctx, "systemctl", "daemon-reload"))
	})
	require.NoError(t, faultkit.Run(t.Context(), "systemctl", "start", "systemd-logind.service"))
	// logind delays a shutdown by five seconds at the most, unless kubelet changes that.
	s.setKubelet(t, "shutdownGracePeriod: 5s\nshutdownGracePeriodCriticalPods: 1s")
	require.NoError(t, faultkit.Until(t.Context(), "kubelet to delay a shutdown", func() error {
		out, err := exec.CommandContext(t.Context(), "systemd-inhibit", "--list", "--no-legend").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "kubelet") {
			return fmt.Errorf("inhibitors %q: %w", out, errors.Join(err, errors.New("kubelet is none of them")))
		}
		return nil
	}))
	return func(*corev1.Pod) {}
}

// shutDown has systemd's logind say that the node is about to shut down, and at the test's
// end that the node is not: kubelet ends all pods.
func (s *suite) shutDown(t *testing.T, _ string) {
	t.Helper()
	s.prepareForShutdown(t.Context(), t, "true")
	t.Cleanup(func() { s.prepareForShutdown(context.WithoutCancel(t.Context()), t, "false") })
}

// prepareForShutdown sends the signal that logind sends before a shutdown, and after one
// that was called off.
func (*suite) prepareForShutdown(ctx context.Context, t *testing.T, begins string) {
	t.Helper()
	require.NoError(t, faultkit.Run(ctx, "busctl", "--system", "emit", "/org/freedesktop/login1",
		"org.freedesktop.login1.Manager", "PrepareForShutdown", "b", begins))
}

// The two ways of kubelet to evict: after the pod's own grace, and after a second.
const (
	softEviction = "evictionSoft: {memory.available: 90%}\nevictionSoftGracePeriod: {memory.available: 1s}\nevictionMaxPodGracePeriod: 60"
	hardEviction = "evictionHard: {memory.available: 90%, nodefs.available: 5%}"
)

// pressure returns a stop: by its lines of configuration kubelet takes the node for one
// whose memory is short, until the test's end.
func (s *suite) pressure(lines string) func(*testing.T, string) {
	return func(t *testing.T, _ string) {
		t.Helper()
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			require.NoError(t, faultkit.Until(ctx, "the pressure to end", func() error {
				node, err := s.core.Nodes().Get(ctx, nodeName, metav1.GetOptions{})
				if err != nil {
					return err
				}
				for _, taint := range node.Spec.Taints {
					if taint.Key == corev1.TaintNodeMemoryPressure {
						return errors.New("the node has the taint")
					}
				}
				return nil
			}))
		})
		s.setKubelet(t, lines+"\nevictionPressureTransitionPeriod: 1s")
	}
}
