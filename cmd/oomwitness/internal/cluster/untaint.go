package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
)

// Tainted has the requests of Untaint to the API server; apiserver.Client implements it.
type Tainted interface {
	Node(ctx context.Context, name string) (*corev1.Node, error)
	PatchNode(ctx context.Context, name string, patch []byte) error
}

// Untaint removes the taints with a key from a node. Other taints stay, also taints that are
// added meanwhile: the patch names the version of the node that it changes.
func Untaint(ctx context.Context, api Tainted, name, key string) error {
	err := retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
		node, err := api.Node(ctx, name)
		if err != nil {
			return err
		}
		kept := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool { return t.Key == key })
		if len(kept) == len(node.Spec.Taints) {
			return nil
		}
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": node.ResourceVersion}, "spec": map[string]any{"taints": kept},
		})
		if err != nil {
			return err
		}
		return api.PatchNode(ctx, name, patch)
	})
	if err != nil {
		return fmt.Errorf("remove the taint %s from node %s: %w", key, name, err)
	}
	return nil
}
