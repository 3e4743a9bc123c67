package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// page is the number of pods in one answer.
const page = 500

// pods returns the pods that use the handler and have not ended. Pods on nodes that another
// release of the chart sets up do not count: that release keeps the shim there.
func (r *Removal) pods(ctx context.Context) ([]corev1.Pod, error) {
	found, elsewhere, err := r.survey(ctx)
	return slices.DeleteFunc(found, func(pod corev1.Pod) bool { return elsewhere[pod.Spec.NodeName] }), err
}

// survey returns all pods that use the handler and have not ended, and the nodes that other
// releases of the chart set up.
func (r *Removal) survey(ctx context.Context) (found []corev1.Pod, elsewhere map[string]bool, err error) {
	if r.Handler == "" {
		return nil, nil, nil
	}
	classes, err := r.classes(ctx)
	if err != nil {
		return nil, nil, err
	}
	mine, elsewhere := map[string]bool{}, map[string]bool{}
	for options := (metav1.ListOptions{Limit: page}); ; {
		list, err := r.API.Pods(ctx, metav1.NamespaceAll, options)
		if err != nil {
			return nil, nil, fmt.Errorf("list pods: %w", err)
		}
		for i := range list.Items {
			pod := &list.Items[i]
			if pod.Spec.RuntimeClassName != nil && classes[*pod.Spec.RuntimeClassName] && !ended(pod) {
				found = append(found, *pod)
			}
			switch node, set := nodeOf(pod), metav1.GetControllerOf(pod); {
			case node == "" || set == nil || set.Kind != "DaemonSet" || pod.Annotations[ActionAnnotation] == "":
			case pod.Namespace == r.Namespace && set.Name == r.DaemonSet:
				mine[node] = true
			default:
				elsewhere[node] = true
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			maps.DeleteFunc(elsewhere, func(node string, _ bool) bool { return mine[node] })
			return found, elsewhere, nil
		}
	}
}

// classes returns the names of the RuntimeClasses with the handler, whoever made them.
func (r *Removal) classes(ctx context.Context) (map[string]bool, error) {
	list, err := r.API.RuntimeClasses(ctx)
	if err != nil {
		return nil, fmt.Errorf("list runtimeclasses: %w", err)
	}
	classes := map[string]bool{}
	for i := range list.Items {
		if list.Items[i].Handler == r.Handler {
			classes[list.Items[i].Name] = true
		}
	}
	return classes, nil
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// names returns the pods as refusals name them, with their nodes.
func names(pods []corev1.Pod) []string {
	var out []string
	for i := range pods {
		name := pods[i].Namespace + "/" + pods[i].Name
		if node := pods[i].Spec.NodeName; node != "" {
			name += " on " + node
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// drain evicts the pods that use the handler, until no node has one: also pods that come
// meanwhile. A pod that no node takes any more stays pending, and does no harm.
func (r *Removal) drain(ctx context.Context) error {
	said := map[string]bool{}
	var last []corev1.Pod
	err := r.until(ctx, func(ctx context.Context) (bool, error) {
		pods, err := r.pods(ctx)
		if err != nil {
			return false, err
		}
		last = slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return pod.Spec.NodeName == "" })
		for i := range last {
			if err := r.evict(ctx, &last[i], said); err != nil {
				return false, err
			}
		}
		return len(last) == 0, nil
	})
	if err != nil && len(last) > 0 {
		return fmt.Errorf("these pods still run under the handler %q: %w\n%s", r.Handler, err, strings.Join(names(last), "\n"))
	}
	return err
}

// evict evicts one pod. A disruption budget may delay the eviction.
func (r *Removal) evict(ctx context.Context, pod *corev1.Pod, said map[string]bool) error {
	if !r.Drain {
		return fmt.Errorf("pod %s/%s came while the shim was being removed: delete it, or have it evicted (uninstall.drain, --drain)",
			pod.Namespace, pod.Name)
	}
	if pod.DeletionTimestamp != nil {
		return nil
	}
	name := pod.Namespace + "/" + pod.Name
	err := r.API.Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: metav1.NewPreconditionDeleteOptions(string(pod.UID)),
	})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // the pod is gone, or another pod has its name
		return nil
	case apierrors.IsTooManyRequests(err):
		if !said[name] {
			r.Say("pod %s: has to wait for its disruption budget: %v", name, err)
			said[name] = true
		}
		return nil
	case err != nil:
		return fmt.Errorf("evict pod %s: %w", name, err)
	}
	r.Say("evicted pod %s", name)
	return nil
}

// late returns for each of the DaemonSet's pods that is not ready its node and its message.
func (r *Removal) late(ctx context.Context, selector *metav1.LabelSelector) ([]string, error) {
	list, err := r.API.Pods(ctx, r.Namespace, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(selector)})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var out []string
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.Annotations[ActionAnnotation] == "remove" && ready(pod) {
			continue
		}
		text := pod.Spec.NodeName + " (pod " + pod.Name + ")"
		for _, status := range pod.Status.InitContainerStatuses {
			for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
				if state.Terminated != nil && state.Terminated.Message != "" {
					text += ": " + strings.TrimSpace(state.Terminated.Message)
				}
			}
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out, nil
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
