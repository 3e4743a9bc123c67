package node

import (
	"context"
	"encoding/json"
	"fmt"
)

// Nodes changes a Node by a merge patch; apiserver.Client implements it.
type Nodes interface {
	PatchNode(ctx context.Context, name string, patch []byte) error
}

// Label sets a label of a Node to true, or removes the label.
func Label(ctx context.Context, nodes Nodes, name, label string, carries bool) error {
	var value any // nil removes the label: RFC 7386
	if carries {
		value = "true"
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{label: value}}})
	if err != nil {
		return err
	}
	if err := nodes.PatchNode(ctx, name, patch); err != nil {
		return fmt.Errorf("label %s of node %s: %w", label, name, err)
	}
	return nil
}
