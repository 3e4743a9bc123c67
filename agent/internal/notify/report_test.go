package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

// accepted is an API server that takes every Event, and remembers when a message came first.
type accepted struct {
	mu    sync.Mutex
	began time.Time
	at    map[string]time.Duration
}

func (a *accepted) answer(r *http.Request) (*http.Response, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_, message, _ := bytes.Cut(data, []byte("Killed process "))
	comm, _, _ := strings.Cut(string(message), " ")
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.at[comm]; !ok {
		a.at[comm] = time.Since(a.began)
	}
	return answer(http.StatusCreated, map[string]any{"apiVersion": "v1", "kind": "Event", "metadata": map[string]string{"resourceVersion": "1"}})
}

// TestManyContainersOfATenant: one namespace has a kill in each of many containers at once, which
// are as many Events. Another namespace's kill is an Event in time all the same.
func TestManyContainersOfATenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &accepted{began: time.Now(), at: map[string]time.Duration{}}
		client, err := deliver.ForConfig(&rest.Config{
			Host: "http://api.invalid", QPS: deliver.DefaultQPS, Burst: deliver.DefaultBurst, Transport: roundTrip(api.answer),
		})
		if err != nil {
			t.Fatal(err)
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		q := deliver.NewQueue(log, deliver.MaxTasks, NewReporter(Common{Client: client.Core, Node: "node-a", Pods: podsOf{}, Counter: deliver.Discard{}}))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { q.Run(ctx, workers) })
		n := uint64(0)
		kill := func(comm, namespace, pod, container string) {
			n++
			v := victim(comm, 1, namespace+"/"+pod, container)
			v.Pod.Namespace, v.Pod.Name = namespace, pod
			q.Take(events.OOMEvent{
				ID: fmt.Sprintf("0d1a2b3c-4d5e-4f60-8a1b-2c3d4e5f6071-%d-1", n), BootNS: n, Time: time.Now(),
				Cause: oom.CauseContainer, Victims: []events.Victim{v},
			})
		}
		for i := range 60 * 20 {
			kill("flood", "evil", fmt.Sprintf("p%d", i%60), fmt.Sprintf("c%d", i/60))
		}
		time.Sleep(time.Second)
		began := time.Since(api.began)
		kill("web", "shop", "web", "app")
		time.Sleep(time.Minute)
		cancel()
		running.Wait()
		if at, ok := api.at["web"]; !ok || at-began > 10*time.Second {
			t.Errorf("the kill is an Event: %v, after %v", ok, at-began)
		}
	})
}

// TestEventOfAnother: the name of an Event can be known before the kill, and who may make Events in
// the namespace may make one of that name. The kill has an Event of another name then.
func TestEventOfAnother(t *testing.T) {
	for name, read := range map[string]func() (int, any){
		"no policy": func() (int, any) {
			return http.StatusOK, &corev1.Event{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, ObjectMeta: metav1.ObjectMeta{Name: "taken", ResourceVersion: "1"},
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "mine"}, Source: corev1.EventSource{Component: Component, Host: "node-a"},
			}
		},
		"policy": func() (int, any) {
			return http.StatusForbidden, status(http.StatusForbidden, metav1.StatusReasonForbidden)
		},
	} {
		var made []string
		client, err := deliver.ForConfig(&rest.Config{Host: "http://api.invalid", ContentConfig: rest.ContentConfig{ContentType: "application/json"}, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				if strings.HasSuffix(r.URL.Path, "/other") {
					made = append(made, "counted")
					return answer(http.StatusOK, &corev1.Event{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, ObjectMeta: metav1.ObjectMeta{Name: "other", ResourceVersion: "2"}})
				}
				return answer(read())
			}
			data, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			if bytes.Contains(data, []byte("node-a.")) && len(made) == 0 {
				made = append(made, "refused")
				return answer(http.StatusConflict, status(http.StatusConflict, metav1.StatusReasonAlreadyExists))
			}
			made = append(made, "made")
			return answer(http.StatusCreated, &corev1.Event{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, ObjectMeta: metav1.ObjectMeta{Name: "other", ResourceVersion: "1"}})
		})})
		if err != nil {
			t.Fatal(err)
		}
		r := NewReporter(Common{Client: client.Core, Node: "node-a", Counter: deliver.Discard{}})
		for i := range 2 {
			task := deliver.Task{ID: "e", BootNS: uint64(i) + 1, Time: time.Now(), Text: "Killed process"}
			if err := r.Do(t.Context(), deliver.Lane{Action: reportName, Owner: "/system.slice/ssh.service"}, []deliver.Task{task}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := strings.Join(made, " "); got != "refused made counted" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func status(code int32, reason metav1.StatusReason) *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: code, Reason: reason}
}

// answer is an API server's.
func answer(code int, object any) (*http.Response, error) {
	data, err := json.Marshal(object)
	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(data)),
	}, err
}

// TestFloodOnTheNode: a user whose processes are killed all the time keeps no unit of the node
// from its Events, though all of them are on the node.
func TestFloodOnTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &accepted{began: time.Now(), at: map[string]time.Duration{}}
		client, err := deliver.ForConfig(&rest.Config{Host: "http://api.invalid", Transport: roundTrip(api.answer)})
		if err != nil {
			t.Fatal(err)
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		q := deliver.NewQueue(log, deliver.MaxTasks, NewReporter(Common{Client: client.Core, Node: "node-a", Counter: deliver.Discard{}}))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { q.Run(ctx, workers) })
		n := uint64(0)
		kill := func(comm, cgroup string) {
			n++
			v := victim(comm, 1, "", "")
			v.Cgroup.Path = cgroup
			q.Take(events.OOMEvent{
				ID: fmt.Sprintf("0d1a2b3c-4d5e-4f60-8a1b-2c3d4e5f6071-%d-1", n), BootNS: n, Time: time.Now(),
				Cause: oom.CauseContainer, Victims: []events.Victim{v},
			})
		}
		for range 600 {
			kill("flood", "/user.slice/user-1000.slice/user@1000.service/app.slice/mine.scope")
			time.Sleep(100 * time.Millisecond)
		}
		late := time.Since(api.began)
		kill("sshd", "/system.slice/ssh.service")
		time.Sleep(10 * time.Minute)
		cancel()
		running.Wait()
		if at, ok := api.at["sshd"]; !ok || at-late > 10*time.Second {
			t.Errorf("sshd's kill is an Event: %v, after %v", ok, at-late)
		}
	})
}
