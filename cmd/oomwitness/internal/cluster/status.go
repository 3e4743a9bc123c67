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
	// Namespace and DaemonSet are the chart's. Label is the label of its nodes, "" for the one that
	// the DaemonSet's init step sets.
	Namespace, DaemonSet, Label string
}

// initStep is the name of the init container that sets a node up.
const initStep = "node"

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
			on[nodeOf(pod)] = pod
		}
	}
	nodes, err := s.API.Nodes(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	label := cmp.Or(s.Label, labelOf(set))
	out := []NodeStatus{}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		out = append(out, status(node, on[node.Name], set, label))
	}
	slices.SortFunc(out, func(a, b NodeStatus) int { return strings.Compare(a.Node, b.Node) })
	return out, nil
}

// nodeOf returns the node of a DaemonSet's pod. A pod that is not scheduled yet has an affinity to
// its node (ReplaceDaemonSetPodNodeNameNodeAffinity in pkg/controller/daemon/util of Kubernetes).
func nodeOf(pod *corev1.Pod) string {
	affinity := pod.Spec.Affinity
	if pod.Spec.NodeName != "" || affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return pod.Spec.NodeName
	}
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

// labelOf returns the label that the init step sets, "" if the init step loads the ledger alone.
func labelOf(set *appsv1.DaemonSet) string {
	for _, c := range set.Spec.Template.Spec.InitContainers {
		for _, arg := range c.Args {
			if label, found := strings.CutPrefix(arg, "--label="); found && c.Name == initStep {
				return label
			}
		}
	}
	return ""
}

func status(node *corev1.Node, pod *corev1.Pod, set *appsv1.DaemonSet, label string) NodeStatus {
	n := NodeStatus{Node: node.Name}
	if pod == nil {
		n.State, n.Why = Without, without(node, set)
		return n
	}
	n.Pod = pod.Name
	n.State, n.Why = setUp(pod)
	if n.State == Ready && label != "" && node.Labels[label] != "true" {
		n.State, n.Why = Failed, "the node has lost its label "+label+": delete the pod, and the node is set up again"
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
	// An admission webhook may have added other init containers.
	at := slices.IndexFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == initStep })
	if at < 0 {
		return Working, cmp.Or(oneLine(pod.Status.Message), unscheduled(pod), "kubelet has not started the pod")
	}
	status := pod.Status.InitContainerStatuses[at]
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

// unscheduled returns the scheduler's reason why a pod is on no node, "" for none.
func unscheduled(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return oneLine(c.Message)
		}
	}
	return ""
}

// oneLine returns a message on one line, for a table.
func oneLine(message string) string { return strings.Join(strings.Fields(message), " ") }
