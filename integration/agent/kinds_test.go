//go:build linux

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/kube"
)

// manifests is where kubelet finds static pods in TestKinds.
const manifests = "/etc/kubernetes/manifests"

// kinds are the ways in which a container comes to a node. Each has one that hogs
// as soon as it runs.
var kinds = []struct {
	kind, cause, container string
	// make has kubelet run the pod, and returns the name that the API has for it.
	make func(t *testing.T, n *node, name string) string
}{
	{agenttest.KindInit, "container", "first", func(t *testing.T, n *node, name string) string {
		t.Helper()
		pod := sleeping(name)
		pod.Spec.InitContainers = []corev1.Container{hogging("first")}
		return n.made(t, pod)
	}},
	{agenttest.KindSidecar, "container", "beside", func(t *testing.T, n *node, name string) string {
		t.Helper()
		pod, always := sleeping(name), corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{hogging("beside")}
		pod.Spec.InitContainers[0].RestartPolicy = &always
		return n.made(t, pod)
	}},
	// It has no limit of its own, and the pod's is that of the others.
	{agenttest.KindEphemeral, "pod", "debugger", func(t *testing.T, n *node, name string) string {
		t.Helper()
		require.NoError(t, n.Create(t.Context(), sleeping(name)))
		require.NoError(t, faultkit.Until(t.Context(), name+" to run", func() error {
			pod, err := n.Get(t.Context(), name)
			if err == nil && pod.Status.Phase != corev1.PodRunning {
				err = fmt.Errorf("it is %s", pod.Status.Phase)
			}
			return err
		}))
		require.NoError(t, n.Debug(t.Context(), name, "debugger", "/workload", "hog"))
		return name
	}},
	{agenttest.KindContainer, "container", "app", func(t *testing.T, n *node, name string) string {
		t.Helper()
		static := kube.NewPod(name, "", hogging("app"))
		static.APIVersion, static.Kind = "v1", "Pod"
		// Another limit above the container's, which would be the pod's else.
		static.Spec.Containers = append(static.Spec.Containers, kube.NewContainer("beside", 64<<20, "/workload", "sleep", "1000000"))
		text, err := json.Marshal(static)
		require.NoError(t, err)
		file := manifests + "/" + name + ".json"
		require.NoError(t, os.WriteFile(file, text, 0o644))
		t.Cleanup(func() { require.NoError(t, os.Remove(file)) })
		return name + "-node" // the mirror's
	}},
}

// TestKinds: victims in init, sidecar and ephemeral containers and in static pods are
// named by log, Event and metrics.
func TestKinds(t *testing.T) {
	n := setUp(t)
	require.NoError(t, withStatic(t.Context()))
	for _, k := range kinds {
		name := "kind-" + k.kind
		if k.container == "app" {
			name = "kind-static"
		}
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			pod := k.make(t, n, name)
			line, err := n.agent.Find(t.Context(), pod, of(pod))
			require.NoError(t, err)
			v := line.Victims[0]
			require.Equal(t, k.cause, line.Cause, "%+v", line)
			require.Equal(t, k.container, v.Container.Name)
			require.Equal(t, k.kind, v.Container.Kind)
			require.Equal(t, faultkit.Image, v.Container.Image)
			seen, err := n.Get(t.Context(), pod)
			require.NoError(t, err)
			require.Equal(t, string(seen.UID), v.Pod.UID, "the API's")
			event := n.event(t, pod, "workload (pid ")
			one, err := Counted(t.Context(), `cause="`+k.cause+`"`, `pod="`+pod+`"`, `container="`+k.container+`"`)
			require.NoError(t, err)
			require.GreaterOrEqual(t, one, 1.0, "what restarts is killed again")
			faultkit.Keep(t, fmt.Sprintf("agent kind=%s pod=%s cause=%s ms=%d event=%q", k.kind, pod, k.cause, took(began), event))
		})
	}
}

// withStatic has kubelet run static pods. The other line is withoutEviction's, which may
// have been before.
func withStatic(ctx context.Context) error {
	if err := os.MkdirAll(manifests, 0o755); err != nil {
		return err
	}
	return kube.ConfigureKubelet(ctx, "staticPodPath: "+manifests+
		"\nevictionHard: {memory.available: 0%, nodefs.available: 5%}")
}

// sleeping is a pod that does nothing.
func sleeping(name string) *corev1.Pod {
	return kube.NewPod(name, kube.Class, kube.NewContainer("app", 64<<20, "/workload", "sleep", "1000000"))
}

func hogging(name string) corev1.Container {
	return kube.NewContainer(name, faultkit.Limit, "/workload", "hog")
}

// made has the API make a pod.
func (n *node) made(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	require.NoError(t, n.Create(t.Context(), pod))
	return pod.Name
}
