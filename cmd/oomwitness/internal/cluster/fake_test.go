package cluster_test

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// fakeAPI implements API with a fake API server.
type fakeAPI struct{ kubernetes.Interface }

func (f fakeAPI) DaemonSet(ctx context.Context, namespace, name string) (*appsv1.DaemonSet, error) {
	return f.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (f fakeAPI) PatchDaemonSet(ctx context.Context, namespace, name string, patch []byte) (*appsv1.DaemonSet, error) {
	return f.AppsV1().DaemonSets(namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
}

func (f fakeAPI) Pods(ctx context.Context, namespace string, options metav1.ListOptions) (*corev1.PodList, error) {
	return f.CoreV1().Pods(namespace).List(ctx, options)
}

func (f fakeAPI) Nodes(ctx context.Context, options metav1.ListOptions) (*corev1.NodeList, error) {
	return f.CoreV1().Nodes().List(ctx, options)
}

func (f fakeAPI) RuntimeClasses(ctx context.Context) (*nodev1.RuntimeClassList, error) {
	return f.NodeV1().RuntimeClasses().List(ctx, metav1.ListOptions{})
}

func (f fakeAPI) Evict(ctx context.Context, e *policyv1.Eviction) error {
	return f.PolicyV1().Evictions(e.Namespace).Evict(ctx, e)
}

func (f fakeAPI) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return f.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}

func (f fakeAPI) PatchNode(ctx context.Context, name string, patch []byte) error {
	_, err := f.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func (f fakeAPI) Lease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error) {
	return f.CoordinationV1().Leases(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (f fakeAPI) UpdateLease(ctx context.Context, lease *coordinationv1.Lease) error {
	_, err := f.CoordinationV1().Leases(lease.Namespace).Update(ctx, lease, metav1.UpdateOptions{})
	return err
}
