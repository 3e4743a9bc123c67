package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
)

// world is a cluster of one node with a fake API server, which forces orders of events; a real
// API server is in the guest.
type world struct {
	*cluster.Removal
	client *fake.Clientset
	said   []string
}

func newWorld(objects ...runtime.Object) *world {
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sys", Name: "oomwitness"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "oomwitness"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{
				Annotations: map[string]string{cluster.ActionAnnotation: "setup"},
			}},
		},
		Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 1, UpdatedNumberScheduled: 1, NumberReady: 1},
	}
	w := &world{client: fake.NewClientset(append(objects, set)...)}
	w.Removal = &cluster.Removal{
		API: fakeAPI{w.client}, Namespace: "sys", DaemonSet: "oomwitness", Handler: "oomwitness",
		Label: "oomwitness.io/shim", Patience: time.Minute,
		Say: func(format string, args ...any) { w.said = append(w.said, fmt.Sprintf(format, args...)) },
	}
	return w
}

// edit changes the DaemonSet as its controller would.
func (w *world) edit(t *testing.T, change func(*appsv1.DaemonSet)) {
	t.Helper()
	sets := w.client.AppsV1().DaemonSets("sys")
	set, err := sets.Get(context.Background(), "oomwitness", metav1.GetOptions{})
	require.NoError(t, err)
	change(set)
	_, err = sets.Update(context.Background(), set, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// action reads the tracker itself, since a reactor may not call the client.
func (w *world) action(t *testing.T) string {
	t.Helper()
	object, err := w.client.Tracker().Get(appsv1.SchemeGroupVersion.WithResource("daemonsets"), "sys", "oomwitness")
	require.NoError(t, err)
	return object.(*appsv1.DaemonSet).Spec.Template.Annotations[cluster.ActionAnnotation]
}

func class(name, handler string) *nodev1.RuntimeClass {
	return &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: handler}
}

func pod(name, class string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name},
		Spec:       corev1.PodSpec{RuntimeClassName: &class, NodeName: "worker"},
		Status:     corev1.PodStatus{Phase: phase},
	}
}

func writes(w *world) (verbs []string) {
	for _, a := range w.client.Actions() {
		if a.GetVerb() != "list" && a.GetVerb() != "get" {
			verbs = append(verbs, a.GetVerb()+" "+a.GetResource().Resource)
		}
	}
	return verbs
}

func TestRefusesWithNames(t *testing.T) {
	w := newWorld(class("oomwitness", "oomwitness"), class("mine", "oomwitness"), class("kata", "kata"),
		pod("b", "mine", corev1.PodPending), pod("a", "oomwitness", corev1.PodRunning),
		pod("done", "oomwitness", corev1.PodSucceeded), pod("failed", "mine", corev1.PodFailed), pod("other", "kata", corev1.PodRunning),
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plain"}})
	require.EqualError(t, w.Run(t.Context()), "2 pods run under the handler \"oomwitness\": delete them first, "+
		"or have them evicted (uninstall.drain, --drain):\napps/a on worker\napps/b on worker")
	require.Empty(t, writes(w), "a refusal changes nothing")
}

// TestOtherRelease: a release for another pool of nodes keeps its pods and its nodes.
func TestOtherRelease(t *testing.T) {
	own := func(namespace, set, node string) *corev1.Pod {
		controls := true
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: set + node, Annotations: map[string]string{cluster.ActionAnnotation: "setup"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: set, Controller: &controls}},
			},
			Spec: corev1.PodSpec{NodeName: node},
		}
	}
	carries := func(name string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"oomwitness.io/shim": "true"}}}
	}
	there := pod("there", "oomwitness", corev1.PodRunning)
	there.Spec.NodeName = "other"
	w := newWorld(class("oomwitness", "oomwitness"), there, carries("other"), own("sys", "pool-b", "other"), own("sys", "oomwitness", "worker"))
	w.Drain = true
	require.NoError(t, w.Run(t.Context()))
	_, err := w.client.CoreV1().Pods("apps").Get(t.Context(), "there", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"patch daemonsets"}, writes(w))

	// A pod on this release's own node still counts, and so does a node of nobody.
	w = newWorld(class("oomwitness", "oomwitness"), pod("here", "oomwitness", corev1.PodRunning), own("a", "oomwitness", "worker"), own("sys", "oomwitness", "worker"))
	require.ErrorContains(t, w.Run(t.Context()), "apps/here on worker")
	w = newWorld(class("oomwitness", "oomwitness"), carries("stale"), own("sys", "pool-b", "other"))
	require.ErrorContains(t, w.Run(t.Context()), "these nodes still carry the shim, and have no pod of daemonset sys/oomwitness that could remove it: stale")
}

func TestRemovesWhereNoneRuns(t *testing.T) {
	w := newWorld(class("oomwitness", "oomwitness"))
	require.NoError(t, w.Run(t.Context()))
	require.Equal(t, "remove", w.action(t))
	require.Contains(t, w.said, "1 nodes have removed the shim")
}

func TestDrainHeedsBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(class("oomwitness", "oomwitness"), pod("a", "oomwitness", corev1.PodRunning))
		w.Drain = true
		asked := 0
		w.client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if action.GetSubresource() != "eviction" {
				return false, nil, nil
			}
			require.Equal(t, "remove", w.action(t), "no more pods come")
			eviction := action.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction)
			if asked++; asked < 3 {
				return true, nil, apierrors.NewTooManyRequests("budget", 1)
			}
			return true, nil, w.client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "apps", eviction.Name)
		})
		require.NoError(t, w.Run(t.Context()))
		require.Equal(t, 3, asked)
		require.Equal(t, []string{
			"daemonset sys/oomwitness: its pods remove the shim from their nodes now",
			"pod apps/a: has to wait for its disruption budget: budget",
			"evicted pod apps/a",
			"1 nodes have removed the shim",
		}, w.said)
	})
}

// TestLateNodeIsNamed: the node's pod waits for a shim that runs outside of Kubernetes.
func TestLateNodeIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "sys", Name: "oomwitness-x", Labels: map[string]string{"app": "oomwitness"},
				Annotations: map[string]string{cluster.ActionAnnotation: "remove"},
			},
			Spec: corev1.PodSpec{NodeName: "worker"},
			Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "1 shim runs"}},
			}}},
		}
		w := newWorld(class("oomwitness", "oomwitness"), late)
		w.edit(t, func(set *appsv1.DaemonSet) { set.Status.NumberReady = 0 })
		err := w.Run(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "these nodes have not removed the shim in time")
		require.ErrorContains(t, err, "worker (pod oomwitness-x): 1 shim runs")
		require.Equal(t, "setup", w.action(t), "put back")
	})
}

func TestNodeWithoutAPodIsNamed(t *testing.T) {
	w := newWorld(class("oomwitness", "oomwitness"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "tainted", Labels: map[string]string{"oomwitness.io/shim": "true"},
	}})
	require.ErrorContains(t, w.Run(t.Context()), "these nodes still carry the shim, and have no pod of daemonset sys/oomwitness that could remove it: tainted")
	require.Equal(t, "setup", w.action(t))
}

// TestStoppedMidway: if the command is ended midway, no node stays half removed.
func TestStoppedMidway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(class("oomwitness", "oomwitness"))
	w.edit(t, func(set *appsv1.DaemonSet) { set.Status.NumberReady = 0 })
	w.client.PrependReactor("get", "daemonsets", func(clienttesting.Action) (bool, runtime.Object, error) {
		cancel()
		return false, nil, nil
	})
	require.ErrorIs(t, w.Run(ctx), context.Canceled)
	require.Equal(t, "setup", w.action(t))
}

// TestPodThatComesLate: a pod that comes after the refusal was decided is not evicted.
func TestPodThatComesLate(t *testing.T) {
	w := newWorld(class("oomwitness", "oomwitness"))
	w.client.PrependReactor("patch", "daemonsets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return false, nil, w.client.Tracker().Add(pod("late", "oomwitness", corev1.PodRunning))
	})
	require.ErrorContains(t, w.Run(t.Context()), "pod apps/late came while the shim was being removed")
	require.Equal(t, "setup", w.action(t))
}
