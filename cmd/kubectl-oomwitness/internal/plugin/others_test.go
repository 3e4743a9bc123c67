package plugin

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/why"
)

// TestEarlierPods: the pod of a StatefulSet runs on node-c, and earlier pods of its name ran
// elsewhere.
func TestEarlierPods(t *testing.T) {
	f := &fakeCluster{pod: runningDB("node-c"), agents: map[string]any{
		"node-a": on("node-a", runOfDB("u1", 2*time.Hour, why.EndedExited)), "node-b": on("node-b", runOfDB("u2", time.Hour, why.EndedOOM)),
		"node-c": on("node-c"), "node-d": on("node-d"),
	}}
	page, status := f.why(t, nil)
	require.Equal(t, why.StatusOOM, status, page)
	require.Contains(t, page, "shop/db-0/app: OOMKilled, 60m ago now the container runs again ended by the OOM killer: the container's own memory limit")
	require.Contains(t, page, " on node node-b ")
	require.Contains(t, page, "last 24 h 2 runs of this container ended, 1 of them OOMKilled")
	require.Contains(t, page, "exited by itself, status 137 on node node-a")
	require.Contains(t, page, "note: runs of an earlier pod with the same name: 2")
	require.NotContains(t, page, "did not answer")
	require.ElementsMatch(t, []string{"node-a", "node-b", "node-c", "node-d"}, f.asked, "each once")

	page, status = f.why(t, func(c *whyCommand) { c.previous = true })
	require.Equal(t, why.StatusOOM, status, page)
	require.Contains(t, page, "OOMKilled, 60m ago")
}

// TestNameNeverComesAgain: no other agent is asked for a pod whose name no other pod can have.
func TestNameNeverComesAgain(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"of a Deployment": func(p *corev1.Pod) { p.GenerateName = "web-7d4b9c-" },
		"static":          func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
	} {
		f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{
			"node-a": on("node-a", runOfDB("now", time.Minute, why.EndedOOM)), "node-b": on("node-b", runOfDB("u1", time.Hour, why.EndedExited)),
		}}
		change(f.pod)
		for _, previous := range []bool{false, true} {
			page, _ := f.why(t, func(c *whyCommand) { c.previous = previous })
			require.NotContains(t, page, "node-b", name)
		}
		require.Equal(t, []string{"node-a", "node-a"}, f.asked, name)
	}
}

// TestSilentAgents: agents that never answer take five seconds together, with --previous two
// minutes, and are named. An agent that fails at once is named too.
func TestSilentAgents(t *testing.T) {
	for previous, most := range map[bool]time.Duration{false: othersTimeout, true: askTimeout} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{
				"node-a": on("node-a", runOfDB("now", time.Minute, why.EndedExited), runOfDB("now", time.Hour, why.EndedExited)),
				"node-b": nil, "node-c": http.StatusInternalServerError, "node-d": `{"schema": 2}`, "node-e": on("node-e"), "node-f": "<html>",
			}}
			began := time.Now()
			page, status := f.why(t, func(c *whyCommand) { c.previous = previous })
			require.LessOrEqual(t, time.Since(began), most)
			require.Zero(t, status, page)
			require.Contains(t, page, "shop/db-0/app: exited by itself, ")
			require.Contains(t, page, "note: earlier runs on other nodes may be missing here: 4 of 5 agents did not answer: node-")
			require.Contains(t, page, "; and 1 more")
		})
	}
}

// TestOwnAgentSilent: the runs on other nodes are shown also if the agent on the pod's node does
// not answer, or if the pod is on no node. The exit status says that this agent did not answer.
func TestOwnAgentSilent(t *testing.T) {
	elsewhere := on("node-b", runOfDB("u1", time.Hour, why.EndedExited))
	f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{"node-a": http.StatusServiceUnavailable, "node-b": elsewhere}}
	page, status := f.why(t, nil)
	require.Equal(t, why.StatusNoAgent, status, page)
	require.Contains(t, page, "exited by itself, 60m ago now the container runs again")
	require.Contains(t, page, " on node node-b")
	require.Contains(t, page, "note: the agent on node node-a was not asked or did not answer: ")

	f = &fakeCluster{pod: runningDB(""), agents: map[string]any{"node-b": elsewhere}}
	f.pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	page, status = f.why(t, nil)
	require.Equal(t, why.StatusNoAgent, status, page)
	require.Contains(t, page, "shop/db-0/app: exited by itself, 60m ago ended by")
	require.Contains(t, page, "note: no agent was asked for this pod: the pod is on no node yet")
}

// TestManyNodes: 500 agents are asked, once each, before the time for them is over.
func TestManyNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{pod: runningDB("node-0"), agents: map[string]any{}}
		for i := range 500 {
			node := fmt.Sprintf("node-%d", i)
			f.agents[node] = on(node)
		}
		f.agents["node-499"] = on("node-499", runOfDB("u1", time.Hour, why.EndedOOM))
		page, status := f.why(t, nil)
		require.Equal(t, why.StatusOOM, status, page)
		require.NotContains(t, page, "did not answer")
		require.Len(t, f.asked, 500)
	})
}
