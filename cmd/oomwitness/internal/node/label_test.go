package node_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
)

// fakeNodes are the nodes of a fake API server.
type fakeNodes struct{ typedv1.NodeInterface }

func (n fakeNodes) PatchNode(ctx context.Context, name string, patch []byte) error {
	_, err := n.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func TestLabel(t *testing.T) {
	nodes := fakeNodes{fake.NewClientset(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"zone": "z"}},
	}).CoreV1().Nodes()}
	labels := func() map[string]string {
		n, err := nodes.Get(t.Context(), "a", metav1.GetOptions{})
		require.NoError(t, err)
		return n.Labels
	}
	require.NoError(t, node.Label(t.Context(), nodes, "a", node.DefaultLabel, true))
	require.Equal(t, map[string]string{"zone": "z", "oomwitness.io/shim": "true"}, labels())
	for range 2 {
		require.NoError(t, node.Label(t.Context(), nodes, "a", node.DefaultLabel, false))
		require.Equal(t, map[string]string{"zone": "z"}, labels())
	}
	require.ErrorContains(t, node.Label(t.Context(), nodes, "b", node.DefaultLabel, true), "label oomwitness.io/shim of node b: ")
}
