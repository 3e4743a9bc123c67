package resolve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// writeHuge writes a list of pods of 1 MB each, and returns the most heap that was in use.
func writeHuge(w io.Writer, pods int) (most uint64, err error) {
	_, err = io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[`)
	for n := range pods {
		pod := made(fmt.Sprint("u", n), fmt.Sprint("c", n))
		pod.Spec.Containers[0].Args = []string{strings.Repeat("x", 1<<20)}
		text, marshalErr := json.Marshal(pod)
		if n > 0 {
			text = append([]byte(","), text...)
		}
		if err == nil {
			_, err = w.Write(text)
		}
		if err != nil || marshalErr != nil {
			return most, fmt.Errorf("%w, %w", err, marshalErr)
		}
		most = max(most, heap())
	}
	_, err = io.WriteString(w, `]}`)
	return most, err
}

// TestHugePods: a tenant's pods may have 1 MB each, and need not run to name this node. The agent
// reads them in no more memory than some of them take, also from an API server (before Kubernetes
// 1.34) that sends all pods in one answer.
func TestHugePods(t *testing.T) {
	const pods, room = 64, 24 << 20
	var most atomic.Uint64
	before := heap()
	client, err := deliver.ForConfig(&rest.Config{Host: "http://api.invalid", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r}
		query := r.URL.Query()
		switch {
		case query.Get("fieldSelector") != "spec.nodeName=node-a", query.Get("watch") == "" && r.Header.Get("Accept") != "application/json":
			t.Errorf("asked for %s", r.URL)
			response.Body = http.NoBody
		case query.Get("sendInitialEvents") != "": // not known to this API server
			text, err := json.Marshal(metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			})
			response.StatusCode, response.Body = http.StatusUnprocessableEntity, io.NopCloser(strings.NewReader(string(text)))
			return response, err
		default:
			out, in := io.Pipe()
			response.Body = out
			go func() {
				if query.Get("watch") != "" {
					<-r.Context().Done()
					in.CloseWithError(r.Context().Err())
					return
				}
				n, err := writeHuge(in, pods)
				most.Store(n)
				in.CloseWithError(err)
			}()
		}
		return response, nil
	})})
	must(t, err)
	s := NewPodStore("node-a")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(ctx, client.Watch)
	}()
	select {
	case <-s.Synced():
	case <-time.After(time.Minute):
		t.Fatal("the pods were not read")
	}
	cancel()
	<-ended
	if pod, c, ok := byContainer(s, "c63"); s.Len() != pods || !ok || pod.UID != "u63" || c.Name != "app" {
		t.Errorf("%d pods: %+v, %+v", s.Len(), pod, c)
	}
	if used := int64(most.Load()) - int64(before); used > room {
		t.Errorf("%d pods of 1 MB took %d bytes, want at most %d", pods, used, room)
	}
}

// TestWrongList: what is no list of pods is an error, and no empty list.
func TestWrongList(t *testing.T) {
	for text, want := range map[string]string{
		"": "EOF", "[]": "no list of pods", `{"items":[`: "EOF", `{"items":{}}`: "no list of pods", `{"items":[{"metadata":7}]}`: "cannot unmarshal",
		`{"kind":"PodList","items":null,"metadata":{"resourceVersion":"7"}}`: "",
	} {
		list, err := readPods(strings.NewReader(text))
		switch {
		case want == "" && (err != nil || list.ResourceVersion != "7" || len(list.Items) != 0):
			t.Errorf("%s: %+v, %v", text, list, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", text, err)
		}
	}
}
