//go:build linux

package agentstorm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// runtimes are those of the field, with the scheme of their containers' IDs at the API
// server, and the names of a container's cgroup by driver: containerd, CRI-O
// (internal/config/cgmgr: the monitor has a cgroup beside the container's) and cri-dockerd.
var runtimes = []struct{ scheme, driver, cgroup string }{
	{"containerd", "systemd", "cri-containerd-%s.scope"}, {"containerd", "cgroupfs", "%s"},
	{"cri-o", "systemd", "crio-%s.scope"}, {"cri-o", "systemd", "crio-%s.scope/container"},
	{"cri-o", "systemd", "crio-conmon-%s.scope"},
	{"cri-o", "cgroupfs", "crio-%s"}, {"cri-o", "cgroupfs", "crio-conmon-%s"},
	{"docker", "systemd", "docker-%s.scope"}, {"docker", "cgroupfs", "%s"},
}

// podCgroup makes a cgroup below kubelet's root, with those above it, as a driver of
// kubelet's names a burstable pod's: pkg/kubelet/cm in Kubernetes.
func (s *podSet) podCgroup(t *testing.T, driver, uid string) string {
	t.Helper()
	parts := []string{"burstable", "pod" + uid}
	dir := s.kubepods
	if driver == "systemd" {
		root := strings.ReplaceAll(strings.Trim(cgroupRoot, "/"), "-", "_")
		name := root + "-kubepods"
		dir = filepath.Join(s.hierarchy.Mount, root+".slice")
		parts = []string{name + ".slice", name + "-burstable.slice", name + "-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"}
		s.make(t, dir, 0)
	}
	for _, part := range parts {
		dir = filepath.Join(dir, part)
		s.make(t, dir, 0)
	}
	return dir
}

// make makes a cgroup until the end of the test, unless the cgroup is there.
func (s *podSet) make(t *testing.T, dir string, limit int64) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		oomtest.MakeCgroup(t, s.hierarchy, dir, limit)
	}
}

// startNamed starts an agent that gets all names from the API server.
func startNamed(t *testing.T, plane *controlplane.Plane) *agent.Process {
	t.Helper()
	program, pins := shimtest.Command(t), loaded(t)
	a, err := agent.Start(t.Context(), agent.Options{
		Program: program, Kubeconfig: plane.Kubeconfig, Node: nodeName, State: t.TempDir(),
		Flags: append(pins, "--address", "", "--kubelet-cgroup-root", cgroupRoot),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.End(syscall.SIGKILL)) })
	return a
}

// victimIn has the OOM killer end a process in a cgroup, and returns what the log has of it.
func victimIn(t *testing.T, a *agent.Process, dir string) agenttest.Victim {
	t.Helper()
	pid := oomtest.KillSmallIn(t, dir)
	require.NotZero(t, pid)
	line, err := a.Find(t.Context(), dir, func(l *agent.Line) bool { return int(l.Victims[0].PID) == pid })
	require.NoError(t, err)
	return line.Victims[0]
}

// TestRuntimes: a kill in a cgroup that has a name of CRI-O, cri-dockerd or containerd
// has pod and container by the API server alone, and is an Event. The runtimes are not
// there: cgroups, kills and the container statuses are what the runtimes give.
func TestRuntimes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	plane := controlplane.Start(t)
	s := newPods(t, plane)
	a := startNamed(t, plane)
	for i, r := range runtimes {
		name := fmt.Sprintf("runtime-%d", i)
		t.Run(r.scheme+" "+r.cgroup, func(t *testing.T) {
			pod, id, err := s.create(t.Context(), name, r.scheme, nil)
			require.NoError(t, err)
			dir := s.podCgroup(t, r.driver, string(pod.UID))
			for _, part := range strings.Split(fmt.Sprintf(r.cgroup, id), "/") {
				dir = filepath.Join(dir, part)
				s.make(t, dir, podLimit)
			}
			v := victimIn(t, a, dir)
			require.NotNil(t, v.Pod, "%+v", v)
			require.Equal(t, []string{name, "default", string(pod.UID)}, []string{v.Pod.Name, v.Pod.Namespace, v.Pod.UID})
			require.Equal(t, []string{id, "app", "registry.invalid/app:1"}, []string{v.Container.ID, v.Container.Name, v.Container.Image})
			require.NoError(t, faultkit.Until(t.Context(), "an Event on "+name, func() error {
				list, err := plane.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{
					FieldSelector: "reason=OOMKilling,involvedObject.uid=" + string(pod.UID),
				})
				if err == nil && len(list.Items) != 1 {
					err = fmt.Errorf("%d Events", len(list.Items))
				}
				return err
			}))
		})
	}
}

// TestStaticClaims: an ordinary pod with kubelet's annotations of a static pod, or some of
// a mirror's marks, has none of the static pod's kills; the mirror has.
func TestStaticClaims(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	const hash = "5f2a9c1b2d4e5f60718293a4b5c6d7e8"
	plane := controlplane.Start(t)
	s := newPods(t, plane)
	a := startNamed(t, plane)
	dir := filepath.Join(s.podCgroup(t, "cgroupfs", hash), strings.Repeat("ab", 32))
	s.make(t, dir, podLimit)
	annotated := func(values ...string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{}
			for i := 0; i < len(values); i += 2 {
				pod.Annotations["kubernetes.io/config."+values[i]] = values[i+1]
			}
		}
	}
	for name, change := range map[string]func(*corev1.Pod){
		"claims-hash":   annotated("hash", hash),
		"claims-source": annotated("hash", hash, "source", "file"),
		"claims-mirror": annotated("hash", hash, "source", "file", "mirror", hash),
	} {
		_, _, err := s.create(t.Context(), name, "containerd", change)
		require.NoError(t, err)
	}
	v := victimIn(t, a, dir)
	require.NotNil(t, v.Pod)
	require.Equal(t, agenttest.Pod{UID: hash}, *v.Pod, "no name")
	s.owner = &metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: nodeName, UID: "any", Controller: new(true)}
	mirror, _, err := s.create(t.Context(), "static-"+nodeName, "containerd", annotated("hash", hash, "source", "file", "mirror", hash))
	require.NoError(t, err)
	require.NoError(t, faultkit.Until(t.Context(), "the mirror to have the kill", func() error {
		if v := victimIn(t, a, dir); v.Pod == nil || v.Pod.UID != string(mirror.UID) {
			return fmt.Errorf("%+v", v.Pod)
		}
		return nil
	}))
	events, err := plane.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod"})
	require.NoError(t, err)
	for i := range events.Items {
		require.Equal(t, mirror.Name, events.Items[i].InvolvedObject.Name)
	}
}
