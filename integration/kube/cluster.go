//go:build linux

// Package kube has pods of the guest's cluster end under the shim, and asks the
// API what it shows of them: what the real kubelet makes of the shim's word.
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	batchv1client "k8s.io/client-go/kubernetes/typed/batch/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	nodev1client "k8s.io/client-go/kubernetes/typed/node/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	runtimeclass "github.com/oomwitness/oomwitness/runtime-class"
)

const (
	// Namespace is where all pods are made.
	Namespace = metav1.NamespaceDefault
	// Class is the RuntimeClass of the shim.
	Class = "oomwitness"

	nodeName = "node"
)

// Cluster is the guest's.
type Cluster struct {
	core  corev1client.CoreV1Interface
	batch batchv1client.BatchV1Interface
	nodes nodev1client.NodeV1Interface
	cri   *cri.Client
}

// Connect makes a client by the environment variable KUBECONFIG.
func Connect() (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(clientcmd.RecommendedConfigPathEnvVar))
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	config.QPS = -1 // no limit: tests make many pods at once
	c := &Cluster{}
	if c.core, err = corev1client.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if c.batch, err = batchv1client.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if c.nodes, err = nodev1client.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if c.cri, err = cri.Dial(cri.Socket); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return c, nil
}

// Close ends the connection to containerd.
func (c *Cluster) Close() error { return c.cri.Close() }

// SetUp puts the shim and the workload's image onto the node, and makes the
// RuntimeClass as it is shipped. Doing it again is no error.
func (c *Cluster) SetUp(ctx context.Context) error {
	if err := faultkit.Install(ctx); err != nil {
		return err
	}
	// As the unit of a node that is set up for good does at boot.
	if err := faultkit.Run(ctx, faultkit.Command, "load"); err != nil {
		return err
	}
	class, err := shipped()
	if err != nil {
		return err
	}
	// An API server that has just started may be too slow for a TLS handshake.
	if err := faultkit.Until(ctx, "RuntimeClass "+class.Name, func() error {
		if err := c.CreateClass(ctx, class); !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil
	}); err != nil {
		return err
	}
	labels, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": class.Scheduling.NodeSelector}})
	if err != nil {
		return err
	}
	if _, err := c.core.Nodes().Patch(ctx, nodeName, types.MergePatchType, labels, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("label node %s: %w", nodeName, err)
	}
	return c.Ready(ctx)
}

// shipped is the RuntimeClass of the repository.
func shipped() (*nodev1.RuntimeClass, error) {
	class := &nodev1.RuntimeClass{}
	if err := yaml.UnmarshalStrict(runtimeclass.Manifest, class); err != nil {
		return nil, fmt.Errorf("RuntimeClass as shipped: %w", err)
	}
	return class, nil
}

// Prepared sets the cluster up, once in the life of the process.
var Prepared = sync.OnceValue(func() error {
	c, err := Connect()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it has only asked
	ctx, cancel := context.WithTimeout(context.Background(), 2*faultkit.Patience)
	defer cancel()
	return c.SetUp(ctx)
})

// CreateClass makes a RuntimeClass.
func (c *Cluster) CreateClass(ctx context.Context, class *nodev1.RuntimeClass) error {
	if _, err := c.nodes.RuntimeClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create RuntimeClass %s: %w", class.Name, err)
	}
	return nil
}

// DeleteClass removes one.
func (c *Cluster) DeleteClass(ctx context.Context, name string) error {
	if err := c.nodes.RuntimeClasses().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete RuntimeClass %s: %w", name, err)
	}
	return nil
}

// Memory returns the node's memory in bytes.
func (c *Cluster) Memory(ctx context.Context) (int64, error) {
	node, err := c.core.Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return 0, fmt.Errorf("get node %s: %w", nodeName, err)
	}
	return node.Status.Capacity.Memory().Value(), nil
}

// Ready waits until the node runs pods.
func (c *Cluster) Ready(ctx context.Context) error {
	if err := faultkit.Ready(ctx, c.cri); err != nil {
		return err
	}
	return faultkit.Until(ctx, "node to be ready", func() error {
		node, err := c.core.Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return errors.New(condition.Message)
			}
		}
		return nil
	})
}
