//go:build linux

package chart

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

const (
	namespace = "oomwitness"
	agentName = "oomwitness-agent"
	agentPort = "8080"
	// stateDir stays on the node.
	stateDir = "/var/lib/oomwitness/agent"
)

// theAgent is the one that the chart runs, by the pod that it has at the moment.
type theAgent struct {
	config *rest.Config
	core   corev1client.CoreV1Interface
	pod    *corev1.Pod
}

// TestAgent is the life of the agent's pod: enabled, confined, with its reports of kills,
// restarted, set to mark, without its capability, and taken off with the chart.
func TestAgent(t *testing.T) {
	images(t)
	before := state(t)
	install(t)
	setUp := kubectl(t, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component=node", "-o", "name")
	_, err := typed(t, enableAgent)
	require.NoError(t, err)
	a := connectAgent(t)
	a.rolledOut(t)
	require.Equal(t, setUp, kubectl(t, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component=node", "-o", "name"),
		"the node is not set up again")
	// Each goes on where the one before has left the agent.
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"rights", func(t *testing.T) { a.mayOnly(t) }},
		{"confined", a.confined},
		{"reports", a.reports},
		{"restarted", a.restarted},
		{"marks", a.marks},
		{"capability", a.withoutCapability},
	} {
		if !t.Run(step.name, step.run) {
			_, _ = try(t, "", "kubectl", "-n", namespace, "describe", "pods", "-l", "app.kubernetes.io/component=agent")
			_, _ = try(t, "", "kubectl", "-n", namespace, "logs", "daemonset/"+agentName, "--tail=30")
		}
	}
	_, err = typed(t, uninstall)
	require.NoError(t, err)
	a.gone(t)
	require.Equal(t, before, state(t), "the node is not what it was")
}

func connectAgent(t *testing.T) *theAgent {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	require.NoError(t, err)
	config.QPS = -1 // no limit
	core, err := corev1client.NewForConfig(config)
	require.NoError(t, err)
	return &theAgent{config: config, core: core}
}

// rolledOut waits for the pod of the DaemonSet as it is now.
func (a *theAgent) rolledOut(t *testing.T) {
	t.Helper()
	_, err := typed(t, agentRollout)
	require.NoError(t, err)
	a.await(t, "ready", isReady)
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// await waits until the only pod of the agent is as wanted, and keeps it.
func (a *theAgent) await(t *testing.T, what string, is func(*corev1.Pod) bool) {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), "an agent's pod that is "+what, func() error {
		pods, err := a.core.Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=agent"})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].DeletionTimestamp != nil || !is(&pods.Items[0]) {
			return fmt.Errorf("%d pods", len(pods.Items))
		}
		a.pod = &pods.Items[0]
		return nil
	}))
}

// get asks the agent as the API server reaches it. What it answers is there also
// with an error.
func (a *theAgent) get(t *testing.T, path string, parameters map[string]string) (string, error) {
	t.Helper()
	body, err := a.core.Pods(namespace).ProxyGet("http", a.pod.Name, agentPort, path, parameters).DoRaw(t.Context())
	return string(body), err
}

// metric sums the series whose labels hold all the texts.
func (a *theAgent) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	body, err := a.get(t, "/metrics", nil)
	require.NoError(t, err)
	sum, err := agent.Sum(body, name, labels...)
	require.NoError(t, err)
	return sum
}

// named is the pod of the document with another name.
func named(t *testing.T, name string) string {
	t.Helper()
	return strings.Replace(example(t, hogExample), "name: hog", "name: "+name, 1)
}

// restarted: killed, and then deleted, the agent goes on with its counts.
func (a *theAgent) restarted(t *testing.T) {
	before := a.pod.UID
	began := time.Now()
	require.NoError(t, syscall.Kill(a.pid(t), syscall.SIGKILL))
	a.await(t, "ready again", func(p *corev1.Pod) bool {
		return isReady(p) && p.UID == before && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	t.Logf("chart agent killed back_ms=%d", time.Since(began).Milliseconds())
	require.EqualValues(t, 137, a.pod.Status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode)
	a.counted(t, "hog")

	began = time.Now()
	require.NoError(t, a.core.Pods(namespace).Delete(t.Context(), a.pod.Name, metav1.DeleteOptions{}))
	a.await(t, "another", func(p *corev1.Pod) bool { return isReady(p) && p.UID != before })
	t.Logf("chart agent deleted back_ms=%d", time.Since(began).Milliseconds())
	a.counted(t, "hog")

	_, event := a.kill(t, named(t, "again"))
	require.EqualValues(t, 1, event.Count)
	a.counted(t, "hog", "again")
	events, err := a.core.Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "source=oomwitness"})
	require.NoError(t, err)
	require.Len(t, events.Items, 2, "one for each kill")
}
