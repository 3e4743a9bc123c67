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
	event, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Event", "metadata": map[string]string{"resourceVersion": "1"}})
	return &http.Response{
		StatusCode: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(event)),
	}, err
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
