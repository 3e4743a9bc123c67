//go:build linux

package kube

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/oom"
)

// TestGroupKill has kubelet's default end all of a container when the kernel kills one of
// its processes. The sources of evidence count that kill differently, and agree.
func TestGroupKill(t *testing.T) {
	s := setUp(t)
	var all []*subject
	for range s.Runs {
		all = append(all, s.annotated(t, s.class(), nil, kindWorkers)...)
	}
	s.endAll(t, "group-kill", all)
	for _, m := range all {
		s.wantEnded(t, m, oom.EndedOOM)
		log := strings.Join(faultkit.LogOf(s.Pods()[m.pod].ID(m.container)), "\n")
		require.NotContains(t, log, "the sources of evidence disagree")
	}
}

// TestMemoryEmptyDir has a container reach its limit by a file in an emptyDir of medium
// Memory. The verdict names shared memory as what filled the container's memory.
func TestMemoryEmptyDir(t *testing.T) {
	s := setUp(t)
	fill := faultkit.Kind{Name: "fill", Code: 137, Reason: faultkit.OOMKilled, Mode: "fill /mem/file"}
	var all, others []*subject
	for range s.Runs {
		// The volume is as large as the limits of all containers together.
		m := s.podWith(t, s.class(), func(pod *corev1.Pod) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "mem", VolumeSource: corev1.VolumeSource{
				EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory},
			}})
			first := &pod.Spec.Containers[0]
			first.VolumeMounts = append(first.VolumeMounts, corev1.VolumeMount{Name: "mem", MountPath: "/mem"})
		}, fill, faultkit.KindStop)
		all, others = append(all, m[0]), append(others, m[1])
	}
	require.NoError(t, s.stand(t.Context(), startTime(len(all)), append(others, all...)))
	for _, m := range all {
		require.NoError(t, s.end(t.Context(), m))
	}
	_, err := s.Until(t.Context(), startTime(len(all)), "the limit", func(pods map[string]*Sight) error {
		for _, m := range all {
			if len(pods[m.pod].Ends[m.container]) == 0 {
				return fmt.Errorf("%s of %s runs", m.container, m.pod)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, m := range others {
		require.NoError(t, s.end(t.Context(), m))
	}
	require.NoError(t, s.over(t.Context(), startTime(len(all)), others))
	s.judge(t, "memory-empty-dir", append(all, others...))
	if s.shim == "stock" {
		return
	}
	for _, m := range all {
		memory := s.exit(t, m).Verdict.Memory
		require.NotNil(t, memory)
		require.Regexp(t, ": shared memory [0-9.]+ MiB", memory.String())
	}
}

// TestExecedProcess has the OOM killer end the process of a probe, again and again: that is
// not what ends the container.
func TestExecedProcess(t *testing.T) {
	s := setUp(t)
	exit3 := faultkit.Kind{Name: "exit3", Code: 3, Reason: "Error", Mode: "exit 3"}
	var all []*subject
	for range s.Runs {
		m := s.podWith(t, s.class(), func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{groupAnnotation: "false"}
			pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/workload", "hog"}}},
				PeriodSeconds: 2, TimeoutSeconds: 60,
			}
		}, exit3)
		require.NoError(t, s.stand(t.Context(), startTime(1), m))
		s.killed(t, s.Pods()[m[0].pod].ID(m[0].container))
		all = append(all, m...)
	}
	s.endAll(t, "execed-process", all)
	for _, m := range all {
		s.wantEnded(t, m, oom.EndedExited)
	}
}
