package node

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Label sets a label of a Node to true, or removes it.
func Label(ctx context.Context, nodes corev1.NodeInterface, name, label string, carries bool) error {
	var value any // nil removes the label: RFC 7386
	if carries {
		value = "true"
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{label: value}}})
	if err != nil {
		return err
	}
	_, err = nodes.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "oomwitness"})
	if err != nil {
		return fmt.Errorf("label %s of node %s: %w", label, name, err)
	}
	return nil
}
