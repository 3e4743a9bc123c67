//go:build linux

package agentstorm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// podSet makes pods of this node, each with a container that has a cgroup. Its
// methods may be called concurrently.
type podSet struct {
	hierarchy oom.Hierarchy
	kubepods  string
	client    kubernetes.Interface
	api       typedcorev1.PodInterface
	// owner is the pods' controller, nil for none.
	owner *metav1.OwnerReference
}

// testPod is one of them.
type testPod struct {
	name, uid string
	// dir is its cgroup's directory, container its container's.
	dir, container string
}

// cgroupRoot is kubelet's --cgroup-root, as the agent is configured.
var cgroupRoot = fmt.Sprintf("/oomwitness-storm-%d", time.Now().UnixNano())

// newPods makes a podSet without pods. All cgroups are removed with the test.
func newPods(t *testing.T, plane *controlplane.Plane) *podSet {
	t.Helper()
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	parent := filepath.Join(h.Mount, cgroupRoot)
	oomtest.MakeCgroup(t, h, parent, 0)
	s := &podSet{
		hierarchy: h, kubepods: filepath.Join(parent, "kubepods"),
		client: plane.Client, api: plane.Client.CoreV1().Pods(metav1.NamespaceDefault),
	}
	oomtest.MakeCgroup(t, h, s.kubepods, 0)
	t.Cleanup(func() { removeTree(t, s.kubepods) })
	return s
}

// removeTree removes a cgroup and all below it.
func removeTree(t *testing.T, top string) {
	t.Helper()
	var dirs []string
	require.NoError(t, filepath.WalkDir(top, func(dir string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, dir)
		}
		return err
	}))
	for _, dir := range slices.Backward(dirs) { // what is in it first
		oomtest.RemoveCgroup(t, dir)
	}
}

// in makes a namespace, and returns a podSet for its pods, which have a controller: they
// may be evicted.
func (s *podSet) in(t *testing.T, namespace string) *podSet {
	t.Helper()
	_, err := s.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	of := *s
	of.api = s.client.CoreV1().Pods(namespace)
	of.owner = &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "any", UID: "any", Controller: new(true)}
	return &of
}

// add makes a pod, as API server and kubelet do with containerd and the cgroupfs driver.
func (s *podSet) add(ctx context.Context, name string) (testPod, error) {
	pod, id, err := s.create(ctx, name, "containerd", nil)
	if err != nil {
		return testPod{}, err
	}
	p := testPod{name: name, uid: string(pod.UID), dir: filepath.Join(s.kubepods, "pod"+string(pod.UID))}
	p.container = filepath.Join(p.dir, id)
	return p, errors.Join(oomtest.NewCgroup(s.hierarchy, p.dir, 0), oomtest.NewCgroup(s.hierarchy, p.container, podLimit))
}

// create makes a pod with a container of a runtime at the API server, and returns the
// container's ID. change may change the pod first.
func (s *podSet) create(ctx context.Context, name, runtime string, change func(*corev1.Pod)) (*corev1.Pod, string, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: nodeName, Containers: []corev1.Container{{Name: "app", Image: "registry.invalid/app:1"}},
		},
	}
	if s.owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*s.owner}
	}
	if change != nil {
		change(pod)
	}
	pod, err := s.api.Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256([]byte(pod.UID))
	id := hex.EncodeToString(sum[:])
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: runtime + "://" + id, Image: "i", ImageID: "i"}}
	pod, err = s.api.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return pod, id, err
}

// remove removes a pod whose processes have ended.
func (s *podSet) remove(ctx context.Context, p testPod) error {
	if err := p.removeCgroups(ctx); err != nil {
		return err
	}
	return s.api.Delete(ctx, p.name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
}

func (p testPod) removeCgroups(ctx context.Context) error {
	for _, dir := range []string{p.container, p.dir} {
		// The kernel lets go of a cgroup a moment after its last process.
		if err := faultkit.Until(ctx, "a cgroup to be removed", func() error { return unix.Rmdir(dir) }); err != nil {
			return err
		}
	}
	return nil
}

// makePods makes n pods, and returns their containers' cgroups.
func makePods(t *testing.T, plane *controlplane.Plane, n int) []string {
	t.Helper()
	s, dirs := newPods(t, plane), make([]string, n)
	for i := range dirs {
		p, err := s.add(t.Context(), fmt.Sprintf("storm-%03d", i))
		require.NoError(t, err)
		dirs[i] = p.container
	}
	return dirs
}
