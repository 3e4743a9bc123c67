//go:build linux

package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/oom"
)

const graceAnnotation = "oomwitness.io/grace"

// shape is a container that loses a process to the OOM killer, and how the container ends.
type shape struct {
	faultkit.Kind
	rule   oom.Rule
	ended  oom.Ended
	change func(*corev1.Pod) // may be nil
	// act is done when the process was killed; nil for a container that ends by itself.
	act func(*testing.T, *suite, *subject)
}

// shapesAtOnce bounds the pods of TestShapes that run at the same time: with 16 on a busy node
// of two CPUs, CRI handled a TaskOOM two minutes after its exit.
const shapesAtOnce = 4

// TestShapes has kubelet run a pod for each way from a process's kill to the container's end.
// kubelet leaves the other processes alone.
func TestShapes(t *testing.T) {
	s := setUp(t)
	var all []*subject
	rules := map[*subject]shape{}
	shapes := slices.Repeat(append(append(passedOn(), supervised(t)...), acted()...), s.Runs)
	for some := range slices.Chunk(shapes, shapesAtOnce) {
		pods := s.shaped(t, some)
		for i, m := range pods {
			rules[m] = some[i]
		}
		all = append(all, pods...)
	}
	s.judge(t, "shapes", all)
	for _, m := range all {
		s.wantEnded(t, m, rules[m].ended)
		if s.shim != "stock" {
			require.Equal(t, rules[m].rule, s.exit(t, m).Verdict.Rule, "%s in %s", m.container, m.pod)
		}
	}
}

// shaped runs a pod for each shape, and returns them when they are over.
func (s *suite) shaped(t *testing.T, shapes []shape) (pods []*subject) {
	t.Helper()
	for _, c := range shapes {
		pods = append(pods, s.podWith(t, s.class(), func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{groupAnnotation: "false"}
			if c.change != nil {
				c.change(pod)
			}
		}, c.Kind)[0])
	}
	for i, m := range pods {
		if act := shapes[i].act; act != nil {
			s.killed(t, s.idOf(t, m))
			act(t, s, m)
		}
	}
	require.NoError(t, s.over(t.Context(), startTime(len(pods)), pods))
	return pods
}

// idOf waits for the ID of a container.
func (s *suite) idOf(t *testing.T, m *subject) (id string) {
	t.Helper()
	_, err := s.Until(t.Context(), startTime(1), "a container of "+m.pod, func(pods map[string]*Sight) error {
		if sight := pods[m.pod]; sight != nil {
			id = sight.ID(m.container)
		}
		if id == "" {
			return errors.New("it has no ID")
		}
		return nil
	})
	require.NoError(t, err)
	return id
}

// passedOn are parents that clean up for a while after the kill of a worker.
func passedOn() (all []shape) {
	for _, c := range []struct {
		name, grace string
		code        int32
		clean       time.Duration
		rule        oom.Rule
	}{
		{"after-1s", "", 137, time.Second, oom.RulePassedOn},
		{"after-8s", "", 137, 8 * time.Second, oom.RulePassedOn},
		{"after-60s", "", 137, time.Minute, oom.RulePassedOn},
		{"within", "", 1, 3 * time.Second, oom.RuleWithinGrace},
		{"beyond", "", 1, 13 * time.Second, oom.RuleNothingKnown},
		{"within-its-own", "30s", 1, 13 * time.Second, oom.RuleWithinGrace},
		{"beyond-its-own", "1s", 1, 3 * time.Second, oom.RuleNothingKnown},
	} {
		one := shape{rule: c.rule, ended: oom.EndedOOM, Kind: faultkit.Kind{
			Name: c.name, Code: c.code, Reason: faultkit.OOMKilled,
			Before: []string{"/workload", "child-oom-exit", fmt.Sprint(c.code), fmt.Sprint(c.clean.Milliseconds())},
		}}
		if c.rule == oom.RuleNothingKnown {
			one.ended, one.Reason = oom.EndedExited, "Error"
		}
		if c.grace != "" {
			one.change = func(pod *corev1.Pod) { pod.Annotations[graceAnnotation] = c.grace }
		}
		all = append(all, one)
	}
	return all
}

// supervised are Debian's supervisors, in a root file system of the node's.
func supervised(t *testing.T) (all []shape) {
	t.Helper()
	root := faultkit.SupervisorRoot(t)
	for name, c := range faultkit.Supervisors {
		one := shape{rule: c.Rule, ended: oom.EndedOOM, Kind: faultkit.Kind{
			Name: name, Code: int32(c.Status), Reason: faultkit.OOMKilled,
			Before: append([]string{"/debian/bin/busybox", "chroot", "/debian"}, c.Args...), // the image has only a shell
		}}
		if c.Rule == oom.RuleExitedZero {
			one.ended, one.Reason = oom.EndedExited, "Completed"
		}
		one.change = func(pod *corev1.Pod) { inDebian(pod, root, c.Limit) }
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b shape) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// inDebian has a pod's container run in a root file system of the node at /debian, which pods
// share, with a /run of its own there, and a limit of memory in bytes.
func inDebian(pod *corev1.Pod, root string, limit int64) {
	first := &pod.Spec.Containers[0]
	memory := corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(limit, resource.BinarySI)}
	first.Resources = corev1.ResourceRequirements{Limits: memory, Requests: memory}
	first.Env = []corev1.EnvVar{{Name: "PATH", Value: "/usr/bin:/bin"}, {Name: "TMPDIR", Value: "/run"}} // the root is read-only
	host := func(dir string) corev1.VolumeSource {
		return corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes,
		corev1.Volume{Name: "root", VolumeSource: host(root)},
		corev1.Volume{Name: "dev", VolumeSource: host("/dev")},
		corev1.Volume{Name: "run", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	first.VolumeMounts = []corev1.VolumeMount{
		{Name: "root", MountPath: "/debian", ReadOnly: true}, {Name: "dev", MountPath: "/debian/dev"}, {Name: "run", MountPath: "/debian/run"},
	}
}

// acted are containers that somebody ends when they have lost a process.
func acted() []shape {
	killed := func(name string, kill func(pid int) error) shape {
		return shape{
			Kind: faultkit.Kind{Name: name, Code: 137, Reason: "Error", Before: kindAtKill.Before},
			rule: oom.RuleSender, ended: oom.EndedSignal,
			act: func(t *testing.T, s *suite, m *subject) {
				t.Helper()
				pid, err := faultkit.InitPid(s.idOf(t, m))
				require.NoError(t, err)
				require.NoError(t, faultkit.Pause(t.Context(), time.Second))
				require.NoError(t, kill(pid))
			},
		}
	}
	return []shape{
		killed("killed-by-pid", func(pid int) error { return unix.Kill(pid, unix.SIGKILL) }),
		killed("killed-by-cgroup", func(pid int) error {
			path, err := oom.Hierarchy{Version: 2}.PathOf(pid)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join("/sys/fs/cgroup", path, "cgroup.kill"), []byte("1"), 0)
		}),
		{
			// One child is killed before the stop, and one by the stop.
			Kind: faultkit.Kind{
				Name: "stop-too-large", Code: 1, Reason: faultkit.OOMKilled,
				Before: []string{"/bin/sh", "-c", `trap "/workload child-oom-exit 1 || exit 1" TERM; /workload child-oom-exit 0; while :; do /workload sleep 1; done`},
			},
			rule: oom.RuleStopped, ended: oom.EndedOOM,
			act: func(t *testing.T, s *suite, m *subject) {
				t.Helper()
				pid, err := faultkit.InitPid(s.idOf(t, m))
				require.NoError(t, err)
				require.NoError(t, faultkit.Catches(pid, unix.SIGTERM))
				require.NoError(t, s.Delete(context.WithoutCancel(t.Context()), m.pod, int64(faultkit.Patience.Seconds())))
			},
		},
	}
}
