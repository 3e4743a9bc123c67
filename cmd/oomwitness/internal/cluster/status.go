package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is the state of a node's setup.
type State string

const (
	// Ready nodes carry the shim, and get pods of the RuntimeClass.
	Ready State = "ready"
	// Working nodes are being set up, or wait for their turn.
	Working State = "working"
	// Unsupported nodes cannot carry the shim, and were left as they were.
	Unsupported State = "unsupported"
	// Failed nodes are tried again by kubelet, after a pause.
	Failed State = "failed"
	// Without nodes have no pod of the DaemonSet.
	Without State = "without"
)

// UnsupportedPrefix is the prefix of the message that the init step leaves on an unsupported
// node.
const UnsupportedPrefix = "unsupported: "

// NodeStatus is the status of one node. Its JSON form is stable: fields are only added.
type NodeStatus struct {
	Node  string `json:"node"`
	State State  `json:"state"`
	Pod   string `json:"pod,omitempty"`
	// Why is the reason why the node is not ready.
	Why string `json:"why,omitempty"`
}

// Status reads the state of each node's setup.
type Status struct {
	API API
	// Namespace and DaemonSet are the chart's; Label is the label of its nodes.
	Namespace, DaemonSet, Label string
}

// Nodes returns the status of all nodes of the cluster, sorted by name.
func (s *Status) Nodes(ctx context.Context) ([]NodeStatus, error) {
	set, err := s.API.DaemonSet(ctx, s.Namespace, s.DaemonSet)
	if err != nil {
		return nil, fmt.Errorf("daemonset %s/%s: %w", s.Namespace, s.DaemonSet, err)
	}
	pods, err := s.API.Pods(ctx, s.Namespace, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(set.Spec.Selector)})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	on := map[string]*corev1.Pod{}
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.DeletionTimestamp == nil {
			on[pod.Spec.NodeName] = pod
		}
	}
	nodes, err := s.API.Nodes(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var out []NodeStatus
	for i := range nodes.Items {
		node := &nodes.Items[i]
		out = append(out, s.node(node, on[node.Name], set))
	}
	slices.SortFunc(out, func(a, b NodeStatus) int { return strings.Compare(a.Node, b.Node) })
	return out, nil
}

func (s *Status) node(node *corev1.Node, pod *corev1.Pod, set *appsv1.DaemonSet) NodeStatus {
	n := NodeStatus{Node: node.Name}
	if pod == nil {
		n.State, n.Why = Without, without(node, set)
		return n
	}
	n.Pod = pod.Name
	n.State, n.Why = setUp(pod)
	if n.State == Ready && node.Labels[s.Label] != "true" {
		n.State, n.Why = Failed, "the node has lost its label "+s.Label+": delete the pod, and the node is set up again"
	}
	return n
}

// without returns why a node has no pod, as far as the objects show it.
func without(node *corev1.Node, set *appsv1.DaemonSet) string {
	for key, value := range set.Spec.Template.Spec.NodeSelector {
		if node.Labels[key] != value {
			return fmt.Sprintf("daemonSet.nodeSelector asks for %s=%s", key, value)
		}
	}
	return "no pod of the DaemonSet is on this node: its taints or affinity keep the pod away, or the pod is not there yet"
}

// setUp returns the state of a pod's init step, with its message.
func setUp(pod *corev1.Pod) (State, string) {
	if len(pod.Status.InitContainerStatuses) == 0 {
		return Working, cmp.Or(pod.Status.Message, "kubelet has not started the pod")
	}
	status := pod.Status.InitContainerStatuses[0]
	if end := status.State.Terminated; end != nil && end.ExitCode == 0 {
		if why, unsupported := strings.CutPrefix(end.Message, UnsupportedPrefix); unsupported {
			return Unsupported, oneLine(why)
		}
		return Ready, ""
	}
	for _, end := range []*corev1.ContainerStateTerminated{status.State.Terminated, status.LastTerminationState.Terminated} {
		if end != nil {
			return Failed, oneLine(cmp.Or(end.Message, end.Reason))
		}
	}
	if w := status.State.Waiting; w != nil && w.Reason != "PodInitializing" {
		return Failed, oneLine(strings.TrimSuffix(w.Reason+": "+w.Message, ": "))
	}
	return Working, ""
}

// oneLine returns a message on one line, for a table.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
