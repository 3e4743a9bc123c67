// Package apiserver has the requests of the commands to a cluster's API server, and no others.
//
// A kubernetes.Clientset has all groups of the API. It would take 27 MB of the program, which
// each node's agent maps, and register every type at each start.
package apiserver

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent"
)

// manager is the name under which the API server records changes of fields.
const manager = "oomwitness"

// Client sends requests. Its methods may be called concurrently, and return the API server's
// errors unchanged.
type Client struct{ core, apps, node, coordination rest.Interface }

// Connect returns a client for a configuration, which it does not change. It sends no request
// yet.
func Connect(config *rest.Config) (*Client, error) {
	c := &Client{}
	for _, g := range []struct {
		client  *rest.Interface
		version schema.GroupVersion
	}{
		{&c.core, corev1.SchemeGroupVersion},
		{&c.apps, appsv1.SchemeGroupVersion},
		{&c.node, nodev1.SchemeGroupVersion},
		{&c.coordination, coordinationv1.SchemeGroupVersion},
	} {
		client, err := agent.RESTGroup(config, g.version, codecs)
		if err != nil {
			return nil, fmt.Errorf("API server: %w", err)
		}
		*g.client = client
	}
	return c, nil
}

// DaemonSet returns a DaemonSet.
func (c *Client) DaemonSet(ctx context.Context, namespace, name string) (*appsv1.DaemonSet, error) {
	set := &appsv1.DaemonSet{}
	return set, c.apps.Get().Namespace(namespace).Resource("daemonsets").Name(name).Do(ctx).Into(set)
}

// PatchDaemonSet changes a DaemonSet by a strategic merge patch, and returns the result.
func (c *Client) PatchDaemonSet(ctx context.Context, namespace, name string, patch []byte) (*appsv1.DaemonSet, error) {
	set := &appsv1.DaemonSet{}
	return set, c.apps.Patch(types.StrategicMergePatchType).Namespace(namespace).Resource("daemonsets").Name(name).
		VersionedParams(&metav1.PatchOptions{FieldManager: manager}, parameters).Body(patch).Do(ctx).Into(set)
}

// Pods lists the pods of a namespace, "" for all namespaces.
func (c *Client) Pods(ctx context.Context, namespace string, options metav1.ListOptions) (*corev1.PodList, error) {
	list := &corev1.PodList{}
	return list, c.core.Get().Namespace(namespace).Resource("pods").VersionedParams(&options, parameters).Do(ctx).Into(list)
}

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context, options metav1.ListOptions) (*corev1.NodeList, error) {
	list := &corev1.NodeList{}
	return list, c.core.Get().Resource("nodes").VersionedParams(&options, parameters).Do(ctx).Into(list)
}

// Node returns a node.
func (c *Client) Node(ctx context.Context, name string) (*corev1.Node, error) {
	node := &corev1.Node{}
	return node, c.core.Get().Resource("nodes").Name(name).Do(ctx).Into(node)
}

// PatchNode changes a node by a merge patch.
func (c *Client) PatchNode(ctx context.Context, name string, patch []byte) error {
	return c.core.Patch(types.MergePatchType).Resource("nodes").Name(name).
		VersionedParams(&metav1.PatchOptions{FieldManager: manager}, parameters).Body(patch).Do(ctx).Error()
}

// Lease returns a Lease.
func (c *Client) Lease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	return lease, c.coordination.Get().Namespace(namespace).Resource("leases").Name(name).Do(ctx).Into(lease)
}

// UpdateLease changes a Lease. It fails if the Lease has another version by now.
func (c *Client) UpdateLease(ctx context.Context, lease *coordinationv1.Lease) error {
	return c.coordination.Put().Namespace(lease.Namespace).Resource("leases").Name(lease.Name).Body(lease).Do(ctx).Error()
}

// RuntimeClasses lists the RuntimeClasses.
func (c *Client) RuntimeClasses(ctx context.Context) (*nodev1.RuntimeClassList, error) {
	list := &nodev1.RuntimeClassList{}
	return list, c.node.Get().Resource("runtimeclasses").Do(ctx).Into(list)
}

// Evict asks for the eviction of the pod that has the eviction's namespace and name.
func (c *Client) Evict(ctx context.Context, e *policyv1.Eviction) error {
	return c.core.Post().Namespace(e.Namespace).Resource("pods").Name(e.Name).SubResource("eviction").Body(e).Do(ctx).Error()
}

// codecs and parameters know the types of requests and answers.
var (
	scheme     = agent.RESTScheme(appsv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme, nodev1.AddToScheme, policyv1.AddToScheme)
	codecs     = serializer.NewCodecFactory(scheme)
	parameters = runtime.NewParameterCodec(scheme)
)
