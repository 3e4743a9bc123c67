//go:build linux

package agentapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

// eventChanged changes the Event between two OOM events. The agent counts both, and keeps the
// change.
func eventChanged(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "changed", nil)
	a := startAgent(t, p.Config, nil)
	a.take(t, false, oomEvent(301, oom.CauseNode, pod))
	label := []byte(`{"metadata":{"labels":{"example.com/seen":"yes"}}}`)
	name := eventsOf(t, p, "default", pod.Name)[0].Name
	if _, err := p.Client.CoreV1().Events("default").Patch(t.Context(), name, types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	a.take(t, false, oomEvent(302, oom.CauseNode, pod))
	events := eventsOf(t, p, "default", pod.Name)
	if len(events) != 1 || events[0].Count != 2 || events[0].Labels["example.com/seen"] != "yes" || a.counts.get("event error conflict") != 1 {
		t.Errorf("got %+v, counted %s", events, a.counts.all())
	}
}

// eventExpired deletes the Event, as the API server does when an Event is old. A new Event
// counts the OOM events since then.
func eventExpired(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "expired", nil)
	a := startAgent(t, p.Config, nil)
	a.take(t, false, oomEvent(311, oom.CauseNode, pod))
	name := eventsOf(t, p, "default", pod.Name)[0].Name
	if err := p.Client.CoreV1().Events("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.take(t, false, oomEvent(312, oom.CauseNode, pod))
	if events := eventsOf(t, p, "default", pod.Name); len(events) != 1 || events[0].Count != 1 {
		t.Errorf("got %+v, counted %s", events, a.counts.all())
	}
}

// namespaceGone: a namespace that is being deleted takes no Events.
func namespaceGone(t *testing.T, p *controlplane.Plane) {
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "leaving"}}
	if _, err := p.Client.CoreV1().Namespaces().Create(t.Context(), space, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := makePod(t, p, "leaving", func(pod *corev1.Pod) { pod.Namespace = "leaving" })
	a := startAgent(t, p.Config, nil)
	// No controller runs here that would finish the deletion.
	if err := p.Client.CoreV1().Namespaces().Delete(t.Context(), "leaving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.take(t, false, oomEvent(321, oom.CauseNode, pod))
	if a.counts.get("event skipped namespace_gone") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
}

// refusals: the API server answers 429, 500 and 503 in turn to three of seven writing requests.
// The agent reports and marks everything once.
func refusals(t *testing.T, p *controlplane.Plane) {
	const kills, onPods = 24, 6
	pods, list := burst(t, p, "refused", 3000, kills, onPods)
	answers := []int{http.StatusTooManyRequests, 0, http.StatusInternalServerError, 0, http.StatusServiceUnavailable, 0, 0}
	var n atomic.Uint64
	config := rest.CopyConfig(p.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet {
				return next.RoundTrip(r)
			}
			code := answers[n.Add(1)%uint64(len(answers))]
			if code == 0 {
				return next.RoundTrip(r)
			}
			return refusal(r, code)
		})
	})
	a := startAgent(t, config, withMarks)
	a.take(t, false, list...)
	if got := counted(t, p, pods); got != kills || a.counts.get("mark marked") != kills {
		t.Errorf("the Events count %d, want %d; %s", got, kills, a.counts.all())
	}
	if a.counts.get("event error throttled")+a.counts.get("mark error throttled") == 0 {
		t.Errorf("no request was throttled: %s", a.counts.all())
	}
}

// everySecondRefused refuses every second writing request. The agent has to find, read and
// change an Event of an earlier agent. Each attempt gets one step further.
func everySecondRefused(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "second", nil)
	before := startAgent(t, p.Config, nil)
	before.take(t, false, oomEvent(5001, oom.CauseNode, pod))
	before.stop()
	var n atomic.Uint64
	config := rest.CopyConfig(p.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet && n.Add(1)%2 == 0 {
				return refusal(r, http.StatusServiceUnavailable)
			}
			return next.RoundTrip(r)
		})
	})
	a := startAgent(t, config, nil)
	a.take(t, false, oomEvent(5002, oom.CauseNode, pod))
	if got := counted(t, p, []*corev1.Pod{pod}); got != 2 || a.counts.get("event error unavailable") != 2 {
		t.Errorf("the Event counts %d, want 2, after 2 attempts that failed; %s", got, a.counts.all())
	}
}

// refusal returns the answer of an API server that cannot serve the request now.
func refusal(r *http.Request, code int) (*http.Response, error) {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code),
		Details: &metav1.StatusDetails{RetryAfterSeconds: 1},
	})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"1"}},
		Body:   io.NopCloser(bytes.NewReader(body)),
	}, nil
}
