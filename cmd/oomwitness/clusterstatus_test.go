package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// TestClusterStatus: the output as JSON is an object with a version, and a pod's message changes
// no terminal.
func TestClusterStatus(t *testing.T) {
	labels := map[string]string{"app": "x"}
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-a", Labels: labels}, Spec: corev1.PodSpec{NodeName: "a"}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "node", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "no\n\x1b[2J\u202espace"},
	}}}
	answers := map[string]any{
		"/apis/apps/v1/namespaces/oomwitness/daemonsets/oomwitness": appsv1.DaemonSet{
			TypeMeta: metav1.TypeMeta{Kind: "DaemonSet", APIVersion: "apps/v1"}, Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}},
		},
		"/api/v1/namespaces/oomwitness/pods": corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{pod}},
		"/api/v1/nodes": corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, Items: []corev1.Node{
			{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
		}},
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answers[r.URL.Path])
	}))
	t.Cleanup(api.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("clusters: [{name: a, cluster: {server: '%s'}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n", api.URL)
	require.NoError(t, os.WriteFile(kubeconfig, []byte(text), 0o600))

	out, errs, status := clitest.Run(t, "cluster", "status", "--kubeconfig", kubeconfig)
	require.Zero(t, status, errs)
	require.Equal(t, "NODE  STATE   WHY\na     failed  no \\u001b[2J\\u202espace\n0 of 1 nodes are ready\n", out)
	out, errs, status = clitest.Run(t, "cluster", "status", "-o", "json", "--kubeconfig", kubeconfig)
	require.Zero(t, status, errs)
	require.JSONEq(t, `{"schema": 1, "nodes": [{"node": "a", "state": "failed", "pod": "pod-a", "why": "no \u001b[2J\u202espace"}]}`, out)

	cmd := clitest.Command(t, "cluster", "status", "--kubeconfig")
	cmd.Args = append(cmd.Args, clitest.Piped(t, cmd, text))
	_, errs, status = clitest.Output(t, cmd)
	require.Zero(t, status, errs)
}
