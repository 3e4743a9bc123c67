package plugin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/why"
)

const (
	agentsPath = "/api/v1/namespaces/oomwitness/pods"
	eventsPath = "/api/v1/namespaces/shop/events"
	nodesPath  = "/api/v1/nodes"
)

// ended returns the state of a container that ended.
func ended(id, reason string, status int32, ago time.Duration) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ContainerID: "containerd://" + id, Reason: reason, ExitCode: status, FinishedAt: metav1.NewTime(time.Now().Add(-ago)),
	}}
}

// TestForbidden: whatever a user may not read, the page has the rest, and a note for what is
// missing.
func TestForbidden(t *testing.T) {
	for name, test := range map[string]struct {
		refused []string
		want    []string
	}{
		"pods/proxy":     {[]string{proxyPath}, []string{"you may not ask the agent: the right get on pods/proxy is missing"}},
		"agents' pods":   {[]string{agentsPath}, []string{"the agent on node node-a was not asked or did not answer: list the agents' pods: forbidden by the test"}},
		"proxy, Events":  {[]string{proxyPath, eventsPath}, []string{"the right get on pods/proxy is missing", "the Events of the pod are not known: forbidden by the test"}},
		"all but a pod":  {[]string{agentsPath, eventsPath, nodesPath}, []string{"list the agents' pods: forbidden", "the Events of the pod are not known"}},
		"proxy and node": {[]string{proxyPath, nodesPath}, []string{"the right get on pods/proxy is missing", "there is no Event of an OOM kill on the pod"}},
	} {
		f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{"node-a": on("node-a")}, refused: test.refused}
		f.pod.Status.ContainerStatuses[0].LastTerminationState = ended("before", "OOMKilled", 137, time.Minute)
		page, status := f.why(t, nil)
		require.Equal(t, why.StatusOOM, status, page)
		require.Contains(t, page, "shop/db-0/app: OOMKilled, ", name)
		for _, want := range test.want {
			require.Contains(t, page, want, name)
		}
		f.pod.Status.ContainerStatuses[0].LastTerminationState = ended("before", "Error", 137, time.Minute)
		page, status = f.why(t, nil)
		require.Equal(t, why.StatusNoAgent, status, page)
	}
	f := &fakeCluster{agents: map[string]any{"node-a": on("node-a")}, refused: []string{agentsPath}}
	page, status := f.why(t, nil)
	require.Equal(t, why.StatusNoAgent, status, page)
	require.Contains(t, page, `pod "db-0" is not in namespace "shop", and no agent was asked for a deleted pod: list the agents' pods: forbidden`)

	f = &fakeCluster{pod: runningDB("node-a"), refused: []string{"/"}}
	page, status = f.why(t, nil)
	require.Equal(t, why.StatusError, status, page)
	require.Contains(t, page, "read the pod: forbidden by the test")
}

// away is an API server that answers so many requests, and is gone then.
type away struct {
	http.RoundTripper
	left int
}

func (a *away) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.left--; a.left < 0 {
		return nil, http.ErrServerClosed
	}
	return a.RoundTripper.RoundTrip(r)
}

// TestServerGoesAway: after any number of answers the page has what was read before.
func TestServerGoesAway(t *testing.T) {
	for left := range 12 {
		f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{"node-a": on("node-a"), "node-b": http.StatusBadGateway}}
		f.pod.Status.ContainerStatuses[0].LastTerminationState = ended("before", "Error", 1, time.Hour)
		page, status := ask(t.Context(), t, &away{f, left}, nil)
		switch {
		case left == 0:
			require.Equal(t, why.StatusError, status, page)
			require.Contains(t, page, "read the pod: ")
		case left < 3:
			require.Equal(t, why.StatusNoAgent, status, page)
			require.Contains(t, page, "shop/db-0/app: ended with exit status 1, 60m ago")
			require.Contains(t, page, "the agent on node node-a was not asked or did not answer: ")
		default:
			require.Zero(t, status, page)
			require.Contains(t, page, "shop/db-0/app: ended with exit status 1, 60m ago")
		}
	}
}

// interrupting is an API server whose user presses Ctrl-C while an agent is asked.
type interrupting struct {
	http.RoundTripper
	stop context.CancelCauseFunc
}

func (i interrupting) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, proxyPath) {
		i.stop(errors.New("interrupt signal received"))
	}
	return i.RoundTripper.RoundTrip(r)
}

// TestInterrupted: after Ctrl-C there is no page that calls unknown what was not asked.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{"node-a": nil, "node-b": nil}}
	page, status := ask(ctx, t, interrupting{f, stop}, nil)
	require.Equal(t, why.StatusError, status)
	require.Equal(t, "interrupt signal received", page)
}

// TestOtherAgents: answers of an agent of another version, and of something else at the agent's
// port.
func TestOtherAgents(t *testing.T) {
	for answer, want := range map[string]string{
		`{"schema": 1, "later": {"field": [1]}, "runs": [{"pod": {"namespace": "shop", "name": "db-0", "uid": "now"}, "container": {"name": "app"}, "ended_at": "2026-01-02T03:04:05Z", "exit_status": 3, "later": 1, "verdict": {"ended": "frozen"}}]}`: `ended by not known, because the verdict is "frozen", and this program does not know such a verdict`,
		`{"schema": 1, "runs": [{}]}`:          "what ended it is not known",
		`{"schema": 1}`:                        "shop/db-0/app: running",
		`{"schema": 1, "runs": null}`:          "shop/db-0/app: running",
		`{"schema": 2, "runs": []}`:            "the answer has schema 2: allowed is 1",
		`{}`:                                   "the answer has schema 0: allowed is 1",
		`{"schema": 1, "runs": "all"}`:         "the answer is not the JSON of an agent",
		`<html>login</html>`:                   "the answer is not the JSON of an agent",
		``:                                     "the answer is not the JSON of an agent",
		`{"schema": 1, "runs": [{"pid": 1e99`:  "the answer is not the JSON of an agent",
		`{"schema": 1, "runs": [{"pid": -1}]}`: "what ended it is not known",
	} {
		f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{"node-a": answer}}
		page, _ := f.why(t, nil)
		require.Contains(t, page, want, answer)
	}
	f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{"node-a": http.StatusNotFound}}
	page, _ := f.why(t, nil)
	require.Contains(t, page, "the agent serves no API, or is older than this plugin")
}

// TestKindsOfContainers: init containers, sidecars and debug containers are shown as the others,
// and containers of which kubelet has lost all trace do not take the place of one another.
func TestKindsOfContainers(t *testing.T) {
	f := &fakeCluster{pod: runningDB("node-a"), agents: map[string]any{"node-a": http.StatusBadGateway}}
	f.pod.Spec.InitContainers = []corev1.Container{{Name: "setup"}, {Name: "sidecar", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
	f.pod.Spec.Containers = []corev1.Container{{Name: "app"}, {Name: "log"}}
	f.pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	lost := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "ContainerStatusUnknown", ExitCode: 137}}
	f.pod.Status.InitContainerStatuses = []corev1.ContainerStatus{
		{Name: "setup", State: ended("s", "OOMKilled", 137, time.Hour)}, {Name: "sidecar", State: ended("c", "Completed", 0, time.Minute)},
	}
	f.pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "app", State: lost, LastTerminationState: ended("a", "Error", 1, time.Hour)}, {Name: "log", State: lost},
	}
	f.pod.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debug", State: ended("d", "Error", 2, time.Second)}}
	page, status := f.why(t, nil)
	require.Equal(t, why.StatusOOM, status, page)
	for _, want := range []string{
		"shop/db-0/setup: OOMKilled, ", "shop/db-0/sidecar: ended with exit status 0, ", "shop/db-0/debug: ended with exit status 2, ",
		"shop/db-0/app: ended with exit status 137 ended by not known", "ended at not known, because the status of the pod has no time",
		"shop/db-0/log: ended with exit status 137 ended by not known", "ended with exit status 1, status 1",
	} {
		require.Contains(t, page, want)
	}
	for _, name := range []string{"setup", "sidecar", "app", "log", "debug"} {
		page, _ := f.why(t, func(c *whyCommand) { c.container = name })
		require.Contains(t, page, "shop/db-0/"+name+": ", page)
	}
	page, status = f.why(t, func(c *whyCommand) { c.container = "none" })
	require.Equal(t, why.StatusNotFound, status)
	require.Contains(t, page, `container "none" is not in pod db-0: there are setup, sidecar, app, log, debug`)
}
