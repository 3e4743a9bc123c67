//go:build linux

package rollout

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/oomwitness/oomwitness/integration/controlplane"
)

const component = "app.kubernetes.io/component"

// kubelets do for all nodes what kubelet does for its own: they run what is bound to a
// node, and report it. The set-up of a node is its label alone, written with the token of
// the node's pod; the real one is tested by integration/chart. The pod of the uninstall is
// run by the real command.
type kubelets struct {
	*testing.T
	plane   *controlplane.Plane
	command string

	mu   sync.Mutex // guards said
	said bytes.Buffer
}

// startKubelets begins; they end with the test.
func startKubelets(t *testing.T, p *controlplane.Plane, command string) *kubelets {
	k := &kubelets{T: t, plane: p, command: command}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := k.sync(ctx); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				t.Errorf("kubelets: %v", err)
				return
			}
		}
	}()
	return k
}

// sync brings every pod that is bound one step further.
func (k *kubelets) sync(ctx context.Context) error {
	list, err := k.plane.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		pods := k.plane.Client.CoreV1().Pods(pod.Namespace)
		switch {
		case pod.Spec.NodeName == "":
		case pod.DeletionTimestamp != nil:
			err = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		case pod.Status.Phase == corev1.PodPending:
			if err = k.run(ctx, pod); err == nil {
				_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
			}
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// run runs a pod, and fills in its status.
func (k *kubelets) run(ctx context.Context, pod *corev1.Pod) error {
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	switch pod.Labels[component] {
	case "node":
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "node", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
		value := map[string]string{"setup": `"true"`, "remove": "null"}[pod.Annotations["node.oomwitness.io/action"]]
		return k.label(ctx, pod, value)
	case "uninstall":
		return k.uninstall(ctx, pod)
	}
	return nil
}

// label writes the label of a node, as the pod on that node.
func (k *kubelets) label(ctx context.Context, pod *corev1.Pod, value string) error {
	config, err := configOf(ctx, k.plane, pod)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Nodes().Patch(ctx, pod.Spec.NodeName, types.MergePatchType, []byte(`{"metadata":{"labels":{"`+label+`":`+value+`}}}`), metav1.PatchOptions{})
	return err
}

// uninstall starts the command of the pod with the pod's arguments and rights. The other
// pods go on meanwhile.
func (k *kubelets) uninstall(ctx context.Context, pod *corev1.Pod) error {
	config, err := configOf(ctx, k.plane, pod)
	if err != nil {
		return err
	}
	kubeconfig := filepath.Join(k.TempDir(), "kubeconfig")
	err = clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"a": {Server: config.Host, CertificateAuthority: config.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"a": {Token: config.BearerToken}},
		Contexts:  map[string]*clientcmdapi.Context{"a": {Cluster: "a", AuthInfo: "a"}}, CurrentContext: "a",
	}, kubeconfig)
	if err != nil {
		return err
	}
	pod.Status.Conditions = nil
	name, space := pod.Name, pod.Namespace
	cmd := exec.CommandContext(ctx, k.command, append(pod.Spec.Containers[0].Args, "--kubeconfig="+kubeconfig)...)
	go func() {
		out, err := cmd.CombinedOutput()
		k.mu.Lock()
		k.said.Write(out)
		k.mu.Unlock()
		phase := map[bool]string{true: "Succeeded", false: "Failed"}[err == nil]
		_, err = k.plane.Client.CoreV1().Pods(space).Patch(ctx, name, types.MergePatchType, []byte(`{"status":{"phase":"`+phase+`"}}`), metav1.PatchOptions{}, "status")
		if err != nil && ctx.Err() == nil {
			k.Errorf("end of the pod %s: %v", name, err)
		}
	}()
	return nil
}

// output is what the pods of the uninstall have printed.
func (k *kubelets) output() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.said.String()
}

// configOf is a client's configuration with the token of a pod.
func configOf(ctx context.Context, p *controlplane.Plane, pod *corev1.Pod) (*rest.Config, error) {
	issued, err := p.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(p.Config)
	config.BearerToken, config.QPS = issued.Status.Token, -1
	return config, nil
}
