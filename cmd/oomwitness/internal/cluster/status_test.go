package cluster_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
)

func labelled(name, value string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"oomwitness.io/shim": value, "os": "linux"}}}
}

// initPod returns the DaemonSet's pod on a node, with its init step in these states.
func initPod(node string, now, last corev1.ContainerState) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sys", Name: "pod-" + node, Labels: map[string]string{"app": "oomwitness"}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "istio-init", State: ended(0, "")}, {Name: "node", State: now, LastTerminationState: last},
		}},
	}
}

func ended(code int32, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message, Reason: "Error"}}
}

func TestStatus(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	none := corev1.ContainerState{}
	unstarted := initPod("unstarted", none, none)
	unstarted.Status.InitContainerStatuses = nil
	windows := labelled("windows", "")
	windows.Labels["os"] = "windows"
	w := newWorld(
		labelled("ready", "true"), initPod("ready", ended(0, ""), none),
		labelled("unsupported", ""), initPod("unsupported", ended(0, "unsupported: containerd: 1.5 is too old;\nupdate it"), none),
		labelled("again", ""), initPod("again", waiting("CrashLoopBackOff", "back-off 10s"), ended(1, "containerd did not come back\n")),
		labelled("running", ""), initPod("running", running, none),
		labelled("retrying", ""), initPod("retrying", running, ended(1, "no space")),
		labelled("image", ""), initPod("image", waiting("ImagePullBackOff", "not found"), none),
		labelled("unlabelled", ""), initPod("unlabelled", ended(0, ""), none),
		labelled("unstarted", ""), unstarted, windows, labelled("tainted", ""),
	)
	set, err := w.API.DaemonSet(t.Context(), "sys", "oomwitness")
	require.NoError(t, err)
	set.Spec.Template.Spec.NodeSelector = map[string]string{"os": "linux"}
	_, err = w.client.AppsV1().DaemonSets("sys").Update(t.Context(), set, metav1.UpdateOptions{})
	require.NoError(t, err)

	s := cluster.Status{API: w.API, Namespace: "sys", DaemonSet: "oomwitness", Label: "oomwitness.io/shim"}
	nodes, err := s.Nodes(t.Context())
	require.NoError(t, err)
	require.Equal(t, []cluster.NodeStatus{
		{Node: "again", State: cluster.Failed, Pod: "pod-again", Why: "containerd did not come back"},
		{Node: "image", State: cluster.Failed, Pod: "pod-image", Why: "ImagePullBackOff: not found"},
		{Node: "ready", State: cluster.Ready, Pod: "pod-ready"},
		{Node: "retrying", State: cluster.Failed, Pod: "pod-retrying", Why: "no space"},
		{Node: "running", State: cluster.Working, Pod: "pod-running"},
		{Node: "tainted", State: cluster.Without, Why: "no pod of the DaemonSet is on this node: its taints or affinity keep the pod away, or the pod is not there yet"},
		{Node: "unlabelled", State: cluster.Failed, Pod: "pod-unlabelled", Why: "the node has lost its label oomwitness.io/shim: delete the pod, and the node is set up again"},
		{Node: "unstarted", State: cluster.Working, Pod: "pod-unstarted", Why: "kubelet has not started the pod"},
		{Node: "unsupported", State: cluster.Unsupported, Pod: "pod-unsupported", Why: "containerd: 1.5 is too old; update it"},
		{Node: "windows", State: cluster.Without, Why: "daemonSet.nodeSelector asks for os=linux"},
	}, nodes)
	s.DaemonSet = "other"
	_, err = s.Nodes(t.Context())
	require.ErrorContains(t, err, "daemonset sys/other: ")
}

// TestStatusOfOtherClusters: a cluster without nodes, a pod that no node has room for, another
// label, a message that would change the terminal, and nodes with the ledger alone.
func TestStatusOfOtherClusters(t *testing.T) {
	pending := initPod("", corev1.ContainerState{}, corev1.ContainerState{})
	pending.Name, pending.Status.InitContainerStatuses = "pod-full", nil
	pending.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available: 1 Insufficient memory."}}
	pending.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"full"}}}}},
	}}}
	ready := labelled("ready", "")
	ready.Labels["example.org/own"] = "true"
	w := newWorld(ready, initPod("ready", ended(0, ""), corev1.ContainerState{}), labelled("full", ""), pending,
		labelled("odd", ""), initPod("odd", ended(1, "\x1b[2Jgone"), corev1.ContainerState{}))
	s := cluster.Status{API: w.API, Namespace: "sys", DaemonSet: "oomwitness"}
	with := func(args ...string) []cluster.NodeStatus {
		set, err := w.API.DaemonSet(t.Context(), "sys", "oomwitness")
		require.NoError(t, err)
		set.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "node", Args: args}}
		_, err = w.client.AppsV1().DaemonSets("sys").Update(t.Context(), set, metav1.UpdateOptions{})
		require.NoError(t, err)
		nodes, err := s.Nodes(t.Context())
		require.NoError(t, err)
		return nodes
	}
	for _, args := range [][]string{{"node", "setup", "--label=example.org/own"}, {"node", "ledger", "setup"}} {
		require.Equal(t, []cluster.NodeStatus{
			{Node: "full", State: cluster.Working, Pod: "pod-full", Why: "0/3 nodes are available: 1 Insufficient memory."},
			{Node: "odd", State: cluster.Failed, Pod: "pod-odd", Why: "\x1b[2Jgone"},
			{Node: "ready", State: cluster.Ready, Pod: "pod-ready"},
		}, with(args...), "%v", args)
	}
	require.Equal(t, cluster.Failed, with("node", "setup", "--label=other")[2].State)
	for _, name := range []string{"ready", "full", "odd"} {
		require.NoError(t, w.client.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}))
	}
	out, err := json.Marshal(with("node", "setup", "--label=x"))
	require.NoError(t, err)
	require.Equal(t, "[]", string(out))
	w.client.PrependReactor("list", "nodes", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "", errors.New("no"))
	})
	_, err = s.Nodes(t.Context())
	require.EqualError(t, err, "list nodes: nodes is forbidden: no")
}

func TestUntaint(t *testing.T) {
	taint := func(key string) corev1.Taint { return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule} }
	node := labelled("a", "true")
	node.Spec.Taints = []corev1.Taint{taint("gpu"), taint("oomwitness.io/not-ready"), taint("spot")}
	w := newWorld(node)
	for range 2 { // the second call has nothing to do
		require.NoError(t, cluster.Untaint(t.Context(), fakeAPI{w.client}, "a", "oomwitness.io/not-ready"))
	}
	got, err := w.client.CoreV1().Nodes().Get(t.Context(), "a", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []corev1.Taint{taint("gpu"), taint("spot")}, got.Spec.Taints)
	require.Equal(t, []string{"patch nodes"}, writes(w))
	require.ErrorContains(t, cluster.Untaint(t.Context(), fakeAPI{w.client}, "b", "x"), "remove the taint x from node b: ")
}
