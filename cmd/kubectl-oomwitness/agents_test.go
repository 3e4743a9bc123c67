package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// agent returns the pod of an agent that runs.
func agent(node string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "oomwitness", Name: "agent-" + node}, Spec: corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// agents is an API server with an agent on each of two nodes, and others. answer answers for an
// agent.
func agents(t *testing.T, answer http.HandlerFunc, others ...corev1.Pod) (address string) {
	t.Helper()
	lists := map[string]any{
		"/api/v1/nodes":                      corev1.NodeList{Items: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}}}},
		"/api/v1/namespaces/oomwitness/pods": corev1.PodList{Items: append([]corev1.Pod{agent("a"), agent("b")}, others...)},
		"/api/v1/namespaces/shop/pods":       corev1.PodList{},
		"/api/v1/namespaces/shop/events":     corev1.EventList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.Event{{Message: "Killed process"}}},
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch list := lists[r.URL.Path]; {
		case strings.Contains(r.URL.Path, "/proxy/"):
			answer(w, r)
		case r.URL.Query().Has("watch"): // as of a cluster that has forgotten the version of the list
			gone := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: http.StatusGone, Message: "too old"}
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": gone})
		case list != nil:
			_ = json.NewEncoder(w).Encode(list)
		default:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound})
		}
	}))
	t.Cleanup(api.Close)
	return api.URL
}

// TestNoCountsOfSilentAgents: what agents did not say is not called zero.
func TestNoCountsOfSilentAgents(t *testing.T) {
	answered := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "agent-a") {
			_ = json.NewEncoder(w).Encode(why.Top{Schema: why.Schema})
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	_, errs, status := clitest.Run(t, "top", "-n", "shop", "-s", agents(t, answered))
	require.Zero(t, status, errs)
	require.Contains(t, errs, "none was OOM-killed in the last 24h, as far as 1 of 2 agents know\n")

	_, errs, status = clitest.Run(t, "top", "-n", "shop", "-s", agents(t, http.NotFound))
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, errs, "no agent answered: which containers have ended is not known\n")
	require.NotContains(t, errs, "none was OOM-killed")
}

// TestWaitingAgent: an agent whose pod is on no node yet is not asked, and has no nameless node.
func TestWaitingAgent(t *testing.T) {
	pending := agent("")
	pending.Name, pending.Status.Phase = "agent-x", corev1.PodPending
	address := agents(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "agent-x") {
			t.Error("asked")
		}
		_ = json.NewEncoder(w).Encode(why.Top{Schema: why.Schema})
	}, pending)
	const said = "(none yet): the agent's pod agent-x does not run: its phase is Pending"
	_, errs, status := clitest.Run(t, "top", "-n", "shop", "-s", address)
	require.Zero(t, status, errs)
	require.Contains(t, errs, "as far as 2 of 3 agents know\n")
	require.Contains(t, errs, "node "+said+"\n")
	out, _, status := clitest.Run(t, "version", "-o", "wide", "-s", address)
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, out, said+"\n")
}

// TestInterrupted: after Ctrl-C no agent is called silent.
func TestInterrupted(t *testing.T) {
	for _, args := range []string{"nodes", "top", "version", "why deleted"} {
		asked := make(chan struct{}, 2)
		address := agents(t, func(_ http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			<-r.Context().Done()
		})
		cmd := clitest.Command(t, append(strings.Fields(args), "-n", "shop", "-s", address)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Start())
		<-asked
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.Error(t, cmd.Wait())
		require.Equal(t, why.StatusError, cmd.ProcessState.ExitCode(), args)
		require.Empty(t, out.String(), args)
		require.Equal(t, "kubectl oomwitness: interrupt signal received\n", errs.String(), args)
	}
}

// TestEndedWatch: a watch that the API server ends is an error each time.
func TestEndedWatch(t *testing.T) {
	address := agents(t, http.NotFound)
	for range 8 {
		_, errs, status := clitest.Run(t, "events", "-w", "-n", "shop", "-s", address)
		require.Equal(t, why.StatusError, status, errs)
		require.Equal(t, "kubectl oomwitness: watch the Events: too old: run the command again\n", errs)
	}
}

// TestDocuments: the output as JSON is one object, with the version of its form.
func TestDocuments(t *testing.T) {
	address := agents(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(why.Status{Schema: why.Schema, Node: "a", Version: "v1", Ready: true})
	})
	for _, command := range []string{"nodes", "top", "version", "events"} {
		out, errs, _ := clitest.Run(t, command, "-o", "json", "-n", "shop", "-s", address)
		var document struct {
			Schema     int
			APIVersion string
			Kind       string
			Items      []corev1.Event
			Nodes      []struct{ Node string }
		}
		require.NoError(t, json.Unmarshal([]byte(out), &document), "%s: %s%s", command, out, errs)
		switch command {
		case "events":
			require.Equal(t, "v1 EventList", document.APIVersion+" "+document.Kind)
			require.Len(t, document.Items, 1)
			continue
		case "nodes":
			require.Len(t, document.Nodes, 2)
		}
		require.Equal(t, why.Schema, document.Schema, command)
	}
}
