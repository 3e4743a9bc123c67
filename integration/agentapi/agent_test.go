//go:build linux

// Package agentapi has tests of the agent's requests to Kubernetes, against a real API server.
// The tests make the OOM events up: real kills belong to the node VM.
package agentapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	nodeName = "node-a"
	bootID   = "0d1a2b3c-4d5e-4f60-8a1b-2c3d4e5f6071"
)

// agent is one run of the agent's code for Kubernetes.
type agent struct {
	*agenttest.Kube
	counts *counts
	calls  *calls
	done   chan string // IDs of OOM events that are done
	stop   func()
}

// startAgent starts an agent that knows the pods of its node, and stops the agent with the
// test.
func startAgent(t *testing.T, config *rest.Config, change func(*agenttest.KubeOptions)) *agent {
	t.Helper()
	a := &agent{counts: newCounts(), calls: &calls{by: map[string]int{}}, done: make(chan string, 10000)}
	config = rest.CopyConfig(config)
	config.Wrap(a.calls.wrap)
	log := logrus.New()
	log.SetOutput(t.Output())
	o := agenttest.KubeOptions{Node: nodeName, Causes: agenttest.DefaultCauses, EvictEvery: time.Millisecond, Count: a.counts, Log: log}
	if change != nil {
		change(&o)
	}
	var err error
	if a.Kube, err = agenttest.NewKube(config, o); err != nil {
		t.Fatal(err)
	}
	a.Queue.Start(func(id string) { a.done <- id })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(ctx)
	}()
	a.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(a.stop)
	select {
	case <-a.Pods.Synced():
	case <-time.After(controlplane.Deadline):
		t.Fatal("the node's pods were not read")
	}
	return a
}

// take passes OOM events to the agent, and waits until the agent is done with all of them.
func (a *agent) take(t *testing.T, again bool, list ...agenttest.OOMEvent) {
	t.Helper()
	for _, in := range list {
		a.Queue.Take(in)
	}
	a.wait(t, len(list))
}

// wait waits until n more OOM events are done.
func (a *agent) wait(t *testing.T, n int) {
	t.Helper()
	late := time.After(controlplane.Deadline)
	for i := range n {
		select {
		case <-a.done:
		case <-late:
			t.Fatalf("%d of %d OOM events are done; %d tasks wait; %v", i, n, a.Queue.Waiting(), a.counts.all())
		}
	}
}

// counts is an agenttest.Counter whose counts a test can read.
type counts struct {
	mu sync.Mutex
	of map[string]int // "event reported", "mark skipped pod_gone"
}

var _ agenttest.Counter = (*counts)(nil)

func newCounts() *counts { return &counts{of: map[string]int{}} }

func (c *counts) add(what string, stage agenttest.Stage, reason agenttest.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[strings.TrimSpace(fmt.Sprintf("%s %s %s", what, stage, reason))]++
}

func (c *counts) Event(stage agenttest.Stage, reason agenttest.Reason) { c.add("event", stage, reason) }
func (c *counts) Mark(stage agenttest.Stage, reason agenttest.Reason)  { c.add("mark", stage, reason) }
func (c *counts) ReportDelay(time.Duration)                            {}

func (c *counts) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[what]
}

func (c *counts) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.of)
}

// calls counts requests by method and resource.
type calls struct {
	mu sync.Mutex
	by map[string]int
}

func (c *calls) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		what := r.Method + " pods"
		switch {
		case strings.Contains(r.URL.Path, "/events"):
			what = r.Method + " events"
		case strings.HasSuffix(r.URL.Path, "/eviction"):
			what = r.Method + " eviction"
		}
		c.mu.Lock()
		c.by[what]++
		c.mu.Unlock()
		return next.RoundTrip(r)
	})
}

func (c *calls) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[what]
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// oomEvent makes up an OOM event with one victim: in the container app of a pod, or in no pod.
func oomEvent(n uint64, cause oom.Cause, pod *corev1.Pod) agenttest.OOMEvent {
	const gigabyte = 1 << 30
	v := agenttest.Victim{
		Comm: "python3", IDs: agenttest.IDs{PID: 4000 + uint32(n), TID: 4000 + uint32(n)},
		Memory: agenttest.Memory{RSS: new(uint64(gigabyte)), Anon: new(uint64(gigabyte)), File: new(uint64(0)), Shmem: new(uint64(0))},
	}
	if pod != nil {
		v.Container = &agenttest.Container{ID: fmt.Sprintf("%064x", n), Name: "app", Kind: "container"}
		v.Pod = &agenttest.Pod{UID: string(pod.UID), Name: pod.Name, Namespace: pod.Namespace}
	}
	in := agenttest.OOMEvent{
		Schema: agenttest.Schema, Event: n, BootNS: 1e9 + n*1e6, Time: time.Now(), Cause: cause, Tier: "A",
		Domain:  &agenttest.Domain{Constraint: "memcg", Size: gigabyte},
		Trigger: agenttest.Process{PID: 1, Comm: "python3"}, Victims: []agenttest.Victim{v},
	}
	in.Identify(bootID)
	return in
}

// makePod makes a pod on a node.
func makePod(t *testing.T, p *controlplane.Plane, name string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName: nodeName, Containers: []corev1.Container{{Name: "app", Image: "registry.invalid/app:1"}},
			TerminationGracePeriodSeconds: new(int64(0)),
		},
	}
	if change != nil {
		change(pod)
	}
	made, err := p.Client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// deletePod deletes a pod at once, as kubelet does in the end.
func deletePod(t *testing.T, p *controlplane.Plane, name string) {
	t.Helper()
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	if err := p.Client.CoreV1().Pods("default").Delete(t.Context(), name, now); err != nil {
		t.Fatal(err)
	}
}

// getPod reads a pod.
func getPod(t *testing.T, p *controlplane.Plane, name string) *corev1.Pod {
	t.Helper()
	pod, err := p.Client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// ready prepares a plane for pods.
func ready(t *testing.T) *controlplane.Plane {
	t.Helper()
	p := controlplane.Start(t)
	p.WaitNamespace(t)
	return p
}
