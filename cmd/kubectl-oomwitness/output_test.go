package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// server is an API server with a pod that was OOM-killed, a node, an Event that comes again and
// again, and no agent.
func server(t *testing.T) (address string) {
	t.Helper()
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", GenerateName: "w"}, Spec: corev1.PodSpec{
		NodeName: "node-a", InitContainers: []corev1.Container{{Name: "setup"}}, Containers: []corev1.Container{{Name: "app"}},
	}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ContainerID: "containerd://a", ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.Now()},
	}}}
	event := corev1.Event{
		TypeMeta: metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "web"}, Message: "Killed process",
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var object any
		switch path := r.URL.Path; {
		case r.URL.Query().Has("watch"):
			for r.Context().Err() == nil { // until the client has gone
				_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": event})
				w.(http.Flusher).Flush()
			}
			return
		case path == "/api/v1/namespaces/shop/pods/web":
			object = pod
		case path == "/api/v1/namespaces/shop/pods":
			object = corev1.PodList{Items: []corev1.Pod{pod}}
		case strings.HasSuffix(path, "/pods"):
			object = corev1.PodList{}
		case path == "/api/v1/namespaces":
			object = corev1.NamespaceList{Items: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}}}
		case strings.HasSuffix(path, "/nodes"):
			object = corev1.NodeList{Items: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "node-a"}}}}
		case strings.HasSuffix(path, "/events"):
			object = corev1.EventList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.Event{event}}
		default:
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(object)
	}))
	t.Cleanup(api.Close)
	return api.URL
}

// TestUnwritableOutput: of each command.
func TestUnwritableOutput(t *testing.T) {
	address := server(t)
	rows := [][]string{{}, {"help"}, {"help", "why"}, {"top", "--help"}, {"--version"}, {"version", "--client"}, {"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}}
	for _, args := range [][]string{{"why", "web"}, {"nodes"}, {"events"}, {"events", "-w"}} {
		for _, output := range []string{"text", "wide", "json", "yaml"} {
			rows = append(rows, append(args, "-o", output, "-n", "shop", "--server", address))
		}
	}
	t.Run("all", func(t *testing.T) { clitest.Unwritable(t, "kubectl oomwitness", rows) })

	cmd := clitest.Command(t, "events", "-w", "-n", "shop", "--server", address)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, stdout.Close())
	require.Error(t, cmd.Wait())
	require.Equal(t, syscall.SIGPIPE, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), "as of head -1")
	require.Empty(t, errs.String())
}
