// Package cluster takes oomwitness off a cluster. It refuses while pods use the shim, or
// evicts these pods with --drain. It has every node remove its part, and names the nodes that
// did not.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// ActionAnnotation is the annotation of the DaemonSet's pods that chooses the subcommand of
// "oomwitness node" for their init step. Its prefix differs from the prefix of annotations that
// containerd passes to the shim.
const ActionAnnotation = "node.oomwitness.io/action"

// every is the pause between two questions to the cluster. back is the time for restoring the
// DaemonSet after a failure, also after a timeout.
const (
	every = 2 * time.Second
	back  = 30 * time.Second
)

// API has the requests of a removal to the API server; apiserver.Client implements it.
type API interface {
	DaemonSet(ctx context.Context, namespace, name string) (*appsv1.DaemonSet, error)
	PatchDaemonSet(ctx context.Context, namespace, name string, patch []byte) (*appsv1.DaemonSet, error)
	Pods(ctx context.Context, namespace string, options metav1.ListOptions) (*corev1.PodList, error)
	Nodes(ctx context.Context, options metav1.ListOptions) (*corev1.NodeList, error)
	RuntimeClasses(ctx context.Context) (*nodev1.RuntimeClassList, error)
	Evict(ctx context.Context, e *policyv1.Eviction) error
}

// Removal takes oomwitness off a cluster.
type Removal struct {
	API API
	// Namespace and DaemonSet are those of the chart.
	Namespace, DaemonSet string
	// Handler is the runtime handler: every RuntimeClass with this handler counts. It is "" if
	// the nodes have the ledger alone, which no pod needs.
	Handler string
	// Label is the label of the nodes that carry the shim.
	Label string
	// Drain evicts the pods that use the handler.
	Drain bool
	// Patience limits the whole removal.
	Patience time.Duration
	// Say prints progress for the operator.
	Say func(format string, args ...any)
}

// Run refuses while pods use the handler, and then changes nothing, unless Drain is set.
// Otherwise it replaces the DaemonSet's pods by pods that remove what the old ones had put on
// their nodes. If a node does not succeed in time, Run restores the DaemonSet, and with it the
// nodes.
func (r *Removal) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	pods, err := r.pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) > 0 && !r.Drain {
		return fmt.Errorf("%d pods run under the handler %q: delete them first, or have them evicted (uninstall.drain, --drain):\n%s",
			len(pods), r.Handler, strings.Join(names(pods), "\n"))
	}
	set, err := r.turn(ctx, "remove")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.putBack(ctx))
		}
	}()
	r.Say("daemonset %s/%s: its pods remove the shim from their nodes now", r.Namespace, r.DaemonSet)
	if err := r.drain(ctx); err != nil {
		return err
	}
	if err := r.rollout(ctx, set.Generation); err != nil {
		return err
	}
	return r.left(ctx)
}

// turn changes the action of the DaemonSet's pods, on all nodes at once.
func (r *Removal) turn(ctx context.Context, action string) (*appsv1.DaemonSet, error) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{ActionAnnotation: action}},
	}}})
	if err != nil {
		return nil, err
	}
	set, err := r.API.PatchDaemonSet(ctx, r.Namespace, r.DaemonSet, patch)
	if err != nil {
		return nil, fmt.Errorf("daemonset %s/%s: %w", r.Namespace, r.DaemonSet, err)
	}
	return set, nil
}

// putBack restores the DaemonSet, so that the nodes are set up again. It works after the
// timeout too.
func (r *Removal) putBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), back)
	defer cancel()
	if _, err := r.turn(ctx, "setup"); err != nil {
		return err
	}
	r.Say("daemonset %s/%s: put back; its pods set their nodes up again", r.Namespace, r.DaemonSet)
	return nil
}

// rollout waits until every node's pod is of this generation and has done its part.
func (r *Removal) rollout(ctx context.Context, generation int64) error {
	var last *appsv1.DaemonSet
	err := r.until(ctx, func(ctx context.Context) (bool, error) {
		set, err := r.API.DaemonSet(ctx, r.Namespace, r.DaemonSet)
		if err != nil {
			return false, err
		}
		last = set
		want := set.Status.DesiredNumberScheduled
		return set.Status.ObservedGeneration >= generation && set.Status.UpdatedNumberScheduled == want &&
			set.Status.NumberReady == want, nil
	})
	if err == nil {
		r.Say("%d nodes have removed the shim", last.Status.DesiredNumberScheduled)
		return nil
	}
	if last == nil {
		return fmt.Errorf("daemonset %s/%s: %w", r.Namespace, r.DaemonSet, err)
	}
	late, listErr := r.late(context.WithoutCancel(ctx), last.Spec.Selector)
	return errors.Join(fmt.Errorf("these nodes have not removed the shim in time: %w\n%s", err, strings.Join(late, "\n")), listErr)
}

// left returns an error while a node has the label that no other release sets up. Such a node has
// no pod of the DaemonSet any more.
func (r *Removal) left(ctx context.Context) error {
	_, elsewhere, err := r.survey(ctx)
	if err != nil {
		return err
	}
	list, err := r.API.Nodes(ctx, metav1.ListOptions{LabelSelector: r.Label + "=true"})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	var nodes []string
	for i := range list.Items {
		if name := list.Items[i].Name; !elsewhere[name] {
			nodes = append(nodes, name)
		}
	}
	if len(nodes) > 0 {
		return fmt.Errorf("these nodes still carry the shim, and have no pod of daemonset %s/%s that could remove it: %s; "+
			"run there: oomwitness node remove", r.Namespace, r.DaemonSet, strings.Join(nodes, ", "))
	}
	return nil
}

// until calls done every few seconds, within ctx.
func (r *Removal) until(ctx context.Context, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextCancel(ctx, every, true, done)
}
