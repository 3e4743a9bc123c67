package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/why"
)

// fakeCluster is a transport to an API server with one pod and the agents of its nodes. It
// forces answers that a real server and a real agent seldom give.
type fakeCluster struct {
	pod *corev1.Pod
	// agents answer for a node each: a document, the body of an answer, or the status of an
	// answer that failed. nil stands for an agent that never answers.
	agents map[string]any
	// refused are answered with the status Forbidden: the beginnings of paths.
	refused []string

	mu    sync.Mutex
	asked []string // the nodes whose agent was asked
}

const proxyPath = "/api/v1/namespaces/oomwitness/pods/http:agent-"

// RoundTrip answers a request.
func (f *fakeCluster) RoundTrip(r *http.Request) (*http.Response, error) {
	path := r.URL.Path
	if slices.ContainsFunc(f.refused, func(begins string) bool { return strings.HasPrefix(path, begins) }) {
		return respond(metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: "forbidden by the test"})
	}
	if rest, ok := strings.CutPrefix(path, proxyPath); ok {
		node, _, _ := strings.Cut(rest, ":")
		f.mu.Lock()
		f.asked = append(f.asked, node)
		f.mu.Unlock()
		if f.agents[node] == nil {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return respond(f.agents[node])
	}
	switch {
	case path == "/api/v1/namespaces/oomwitness/pods":
		return respond(f.list(r.URL.Query().Get("fieldSelector")))
	case f.pod != nil && path == "/api/v1/namespaces/shop/pods/"+f.pod.Name:
		return respond(f.pod)
	case strings.HasSuffix(path, "/events"):
		return respond(corev1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "v1"}})
	case path == "/api/v1/nodes":
		return respond(corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}})
	}
	return respond(http.StatusNotFound)
}

// list returns the agents' pods, of one node if a selector names it.
func (f *fakeCluster) list(selector string) corev1.PodList {
	pods := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	for node := range f.agents {
		if of, ok := strings.CutPrefix(selector, "spec.nodeName="); ok && of != node {
			continue
		}
		pods.Items = append(pods.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "oomwitness", Name: "agent-" + node},
			Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
		})
	}
	return pods
}

// respond makes the answer of a status, the bytes of a body, or an object.
func respond(what any) (*http.Response, error) {
	status, body := http.StatusOK, []byte(nil)
	switch one := what.(type) {
	case int:
		status, body = one, fmt.Appendf(nil, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": %d}`, one)
	case metav1.Status:
		one.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		status = int(one.Code)
		body, _ = json.Marshal(one)
	case string:
		body = []byte(one)
	default:
		var err error
		if body, err = json.Marshal(what); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
	}, nil
}

// why runs the command, and returns its page as one line, and the exit status.
func (f *fakeCluster) why(t *testing.T, change func(*whyCommand)) (page string, status int) {
	t.Helper()
	return ask(t.Context(), t, f, change)
}

// ask does what why does, by any transport.
func ask(ctx context.Context, t *testing.T, f http.RoundTripper, change func(*whyCommand)) (page string, status int) {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api.invalid", Transport: f, QPS: qps, Burst: burst})
	require.NoError(t, err)
	var out bytes.Buffer
	c := &whyCommand{pod: "db-0", options: &options{
		IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &out}, config: genericclioptions.NewConfigFlags(true),
		client: client, namespace: "shop", agentNamespace: "oomwitness", agentSelector: defaultSelector, output: "text",
	}}
	if change != nil {
		change(c)
	}
	err = c.answer(ctx)
	if err != nil {
		status = why.StatusOf(err)
		out.WriteString(err.Error())
	}
	return strings.Join(strings.Fields(out.String()), " "), status
}

// on returns the answer of an agent with runs of the pod db-0.
func on(node string, runs ...why.Run) *why.Document {
	return &why.Document{Schema: why.Schema, Time: time.Now().UTC(), Node: node, Source: why.SourceAgent, Runs: runs}
}

// runOfDB returns a run of an earlier or the present pod db-0, by the pod's UID.
func runOfDB(uid string, ago time.Duration, ended string) why.Run {
	r := why.Run{
		Pod: &why.Pod{Namespace: "shop", Name: "db-0", UID: uid}, Container: why.Container{ID: uid + ago.String(), Name: "app"},
		EndedAt: new(time.Now().Add(-ago).UTC()), Status: new(137), Verdict: &why.Verdict{Ended: ended, InitVictim: "yes", Rule: "1", Evidence: "ledger", Tier: "A"},
		Recent: &why.Recent{Hours: 24, Runs: 1},
	}
	if ended == why.EndedOOM {
		r.Verdict.Cause, r.Recent.OOM = "container", 1
	}
	return r
}

// runningDB returns the pod db-0 of a StatefulSet, which runs on a node.
func runningDB(node string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-0", UID: "now", OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", Controller: new(true)}}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", ContainerID: "containerd://nowrunning", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}},
	}
}
