//go:build linux

package kube

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/oom"
)

var (
	// kindHog reaches its limit from the start.
	kindHog   = faultkit.Kind{Name: "oom", Code: 137, Reason: faultkit.OOMKilled, Before: []string{"/workload", "hog"}}
	kindExit0 = faultkit.Kind{Name: "exit0", Reason: "Completed", Mode: "exit 0"}
)

// asInit makes the first container of a pod an init container, which is a sidecar
// with the restart policy Always.
func asInit(pod *corev1.Pod, restart *corev1.ContainerRestartPolicy) {
	pod.Spec.InitContainers, pod.Spec.Containers = pod.Spec.Containers[:1:1], pod.Spec.Containers[1:]
	pod.Spec.InitContainers[0].RestartPolicy = restart
}

// TestInitContainer has an init container reach its limit: the pod fails by it,
// and the container after it never runs.
func TestInitContainer(t *testing.T) {
	s := setUp(t)
	var ends []*subject
	for range s.Runs {
		m := s.podWith(t, s.class(), func(pod *corev1.Pod) { asInit(pod, nil) }, kindHog, kindExit0)
		ends = append(ends, m[0])
	}
	require.NoError(t, s.over(t.Context(), startTime(len(ends)), ends))
	for _, m := range ends {
		require.Len(t, s.Pods()[m.pod].Ends, 1, "containers that ended")
		require.Equal(t, corev1.PodFailed, s.Pods()[m.pod].Pod.Status.Phase)
	}
	s.judge(t, "init-container", ends)
}

// TestSidecar has a sidecar reach its limit, which is started again while the
// container beside it goes on, and ends well.
func TestSidecar(t *testing.T) {
	s := setUp(t)
	always, grace := corev1.ContainerRestartPolicyAlways, int64(1)
	var sidecars, others []*subject
	for range s.Runs {
		m := s.podWith(t, s.class(), func(pod *corev1.Pod) {
			asInit(pod, &always)
			pod.Spec.TerminationGracePeriodSeconds = &grace
		}, faultkit.KindOOM, kindExit0)
		sidecars, others = append(sidecars, m[0]), append(others, m[1])
	}
	patience := startTime(len(sidecars))
	require.NoError(t, s.stand(t.Context(), patience, append(others, sidecars...)))
	for _, m := range sidecars {
		require.NoError(t, s.end(t.Context(), m))
	}
	_, err := s.Until(t.Context(), patience, "sidecars to be started again", func(pods map[string]*Sight) error {
		for _, m := range sidecars {
			if status := pods[m.pod].Pod.Status.InitContainerStatuses[0]; status.RestartCount == 0 {
				return fmt.Errorf("sidecar of %s: %v", m.pod, status.State)
			}
		}
		return nil
	})
	require.NoError(t, err)
	s.judge(t, "sidecar", sidecars)
	for _, m := range others {
		require.NoError(t, s.end(t.Context(), m))
	}
	require.NoError(t, s.over(t.Context(), patience, others))
	s.judge(t, "beside-sidecar", others)
}

// TestPodLimit has two containers reach the limit that their pod has as a whole,
// neither of which takes that much. (kubelet gives each container without a limit
// that of the pod: one that takes all by itself meets its own.)
func TestPodLimit(t *testing.T) {
	s := setUp(t)
	holder := faultkit.Kind{Name: "holder", Code: 143, Reason: "Error", Before: []string{"/workload", "hog", fmt.Sprint(faultkit.Limit >> 20)}}
	var ends, others []*subject
	for range s.Runs {
		m := s.podWith(t, s.class(), limitPodAlone, faultkit.KindOOM, holder)
		ends, others = append(ends, m[0]), append(others, m[1])
	}
	all := append(ends, others...)
	require.NoError(t, s.stand(t.Context(), startTime(len(all)), all))
	for _, m := range others {
		s.holds(t, m, faultkit.Limit)
	}
	for _, m := range ends {
		require.NoError(t, s.end(t.Context(), m))
		s.wantCause(t, m, "pod")
	}
	for _, m := range others {
		require.NoError(t, s.end(t.Context(), m))
	}
	require.NoError(t, s.over(t.Context(), startTime(len(all)), all))
	s.judge(t, "pod-limit", all)
}

// holds waits until a container holds so much memory.
func (s *suite) holds(t *testing.T, m *subject, bytes int64) {
	t.Helper()
	id := s.Pods()[m.pod].ID(m.container)
	require.NoError(t, faultkit.Until(t.Context(), m.container+" to hold its memory", func() error {
		now, err := strconv.ParseInt(cgroupFile(t, id, "memory.current"), 10, 64)
		if err == nil && now < bytes {
			err = fmt.Errorf("%d bytes", now)
		}
		return err
	}))
}

// TestNodeWide has a pod without a limit take the memory of the whole node, with
// a kubelet that does not evict it before.
func TestNodeWide(t *testing.T) {
	s := setUp(t)
	s.setKubelet(t, "evictionHard: {memory.available: 0%, nodefs.available: 5%}")
	gulp := faultkit.KindOOM
	gulp.Mode = "gulp"
	s.judge(t, "node-wide", s.withoutLimit(t, gulp, "node", func() {}))
}

// TestNodeAllocatable has a pod without a limit take all that the node's pods may
// have together, while the node itself has plenty.
func TestNodeAllocatable(t *testing.T) {
	s := setUp(t)
	memory, err := s.Memory(t.Context())
	require.NoError(t, err)
	const forPods = 512 << 20
	s.setKubelet(t, fmt.Sprintf("kubeReserved: {memory: %q}\nevictionHard: {memory.available: 0%%, nodefs.available: 5%%}",
		fmt.Sprint(memory-forPods)))
	ends := s.withoutLimit(t, faultkit.KindOOM, "ancestor", func() {
		limit, err := os.ReadFile("/sys/fs/cgroup/" + map[string]string{"systemd": "kubepods.slice", "cgroupfs": "kubepods"}[s.driver] + "/memory.max")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintln(forPods), string(limit))
	})
	s.judge(t, "node-allocatable", ends)
}

// withoutLimit has the containers of pods without a limit end, each when the one
// before it has, and wants their cause. Ready is called when one stands.
func (s *suite) withoutLimit(t *testing.T, kind faultkit.Kind, cause oom.Cause, ready func()) (ends []*subject) {
	t.Helper()
	for range s.Runs {
		m := s.podWith(t, s.class(), func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
		}, kind)
		require.NoError(t, s.stand(t.Context(), startTime(1), m))
		ready()
		require.NoError(t, s.end(t.Context(), m[0]))
		require.NoError(t, s.over(t.Context(), startTime(1), m))
		s.wantCause(t, m[0], cause)
		ends = append(ends, m...)
	}
	return ends
}

// TestWhoseLimit has the only container of a pod take all of its memory. kubelet
// gives the pod the sum of its containers' limits, of which the sandbox takes its
// part: with nothing on top the pod's limit fires first. The RuntimeClass's overhead
// is such a thing. A container without a limit gets that of its pod.
func TestWhoseLimit(t *testing.T) {
	s := setUp(t)
	bare := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "bare"}, Handler: Class}
	require.NoError(t, s.CreateClass(t.Context(), bare))
	t.Cleanup(func() { require.NoError(t, s.DeleteClass(context.WithoutCancel(t.Context()), bare.Name)) })
	asShipped := func(*corev1.Pod) {}
	for _, c := range []struct {
		label, class string
		change       func(*corev1.Pod)
		cause        oom.Cause
	}{
		{"limit-overhead", Class, asShipped, "container"},
		{"limit-bare", bare.Name, asShipped, "pod"},
		{"pod-limit-overhead", Class, limitPodAlone, "container"},
		{"pod-limit-bare", bare.Name, limitPodAlone, "pod"},
	} {
		t.Run(c.label, func(t *testing.T) {
			var ends []*subject
			for range s.Runs {
				ends = append(ends, s.podWith(t, c.class, c.change, faultkit.KindOOM)...)
			}
			require.NoError(t, s.stand(t.Context(), startTime(len(ends)), ends))
			s.endAll(t, c.label, ends)
			for _, m := range ends {
				s.wantCause(t, m, c.cause)
			}
		})
	}
}

// limitPodAlone takes the limits from containers and gives the pod one for all.
func limitPodAlone(pod *corev1.Pod) {
	limits := corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(3*faultkit.Limit, resource.BinarySI)}
	pod.Spec.Resources = &corev1.ResourceRequirements{Limits: limits, Requests: limits}
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].Resources = corev1.ResourceRequirements{}
	}
}

// wantCause wants our shim's verdict of an OOM to name whose limit fired.
func (s *suite) wantCause(t *testing.T, m *subject, cause oom.Cause) {
	t.Helper()
	if s.shim == "stock" {
		return
	}
	require.Equal(t, cause, s.exit(t, m).Verdict.Cause, "%s in %s", m.container, m.pod)
}

// TestKubeletRestarted takes kubelet away while containers end.
func TestKubeletRestarted(t *testing.T) {
	s := setUp(t)
	s.runFault(t, faultkit.Fault{
		Label:  "kubelet-restarted",
		Strike: func(ctx context.Context) error { return faultkit.Run(ctx, "systemctl", "stop", "kubelet") },
		Lasts:  5 * time.Second,
		Heal:   func(ctx context.Context) error { return ConfigureKubelet(ctx, "") },
	}, faultkit.Kinds)
}
