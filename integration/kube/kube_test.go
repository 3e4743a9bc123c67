//go:build linux

package kube

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// startTime is how long so many pods may take to run, or to be gone.
func startTime(pods int) time.Duration {
	return 2*faultkit.Patience + time.Duration(pods)*30*time.Second
}

// suite is the cluster under test, and what its API shows.
type suite struct {
	*Cluster
	*faultkit.Plan
	*Watch
	driver string
	shim   string
}

func setUp(t *testing.T) *suite {
	t.Helper()
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		t.Skip("needs the cluster of the node's guest, and KUBECONFIG: make kube")
	}
	require.NoError(t, Prepared())
	s := &suite{Plan: faultkit.NewPlan(t, "KUBE"), shim: "oomwitness"}
	if name := os.Getenv("KUBE_SHIM"); name != "" {
		require.Contains(t, []string{"oomwitness", "stock"}, name, "environment variable KUBE_SHIM")
		s.shim = name
	}
	var err error
	s.Cluster, err = Connect()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Ready(t.Context()))
	s.driver, err = s.cri.Driver(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s.Watch, err = s.Cluster.Watch(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { cancel(); <-s.done })
	t.Cleanup(func() { s.clear(t) })
	return s
}

// class is the RuntimeClass of the shim under test.
func (s *suite) class() string {
	if s.shim == "stock" {
		return ""
	}
	return Class
}

// serial numbers the pods: each has a name of its own.
var serial atomic.Int64

// clear removes all pods.
func (s *suite) clear(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	require.NoError(t, s.DeleteAll(ctx, 1))
	_, err := s.Until(ctx, startTime(len(s.Pods())), "pods to go", func(pods map[string]*Sight) error {
		for name, sight := range pods {
			if !sight.Gone {
				return fmt.Errorf("pod %s is %s", name, sight.Pod.Status.Phase)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(faultkit.Controls))
}

// subject is a container of a pod, and how it is to end.
type subject struct {
	faultkit.Kind
	pod       string
	container string
	when      faultkit.Moment
	dir       string   // of its control
	pipe      *os.File // carries the mode
}

// words says what is shown of an end.
func words(end *corev1.ContainerStateTerminated) string {
	if end == nil {
		return "not ended"
	}
	return fmt.Sprintf("%s %d", end.Reason, end.ExitCode)
}

// count is what was shown of the containers of one kind.
type count struct{ n, right, firstWrong int }

// judge counts by kind, and prints a line of figures for each. Of our shim it
// wants all right, from the first end ever shown on.
func (s *suite) judge(t *testing.T, label string, subjects []*subject) {
	t.Helper()
	counts := map[string]*count{}
	var order, wrongs []string
	pods := s.Pods()
	for _, m := range subjects {
		c := counts[m.Name]
		if c == nil {
			c = &count{}
			counts[m.Name], order = c, append(order, m.Name)
		}
		c.n++
		want := fmt.Sprintf("%s %d", m.Reason, m.Code)
		sight := pods[m.pod]
		first, last := "not ended", words(sight.End(m.container))
		if end, ok := sight.First[m.container]; ok {
			first = words(&end)
		}
		if last == want {
			c.right++
		}
		if first != want {
			c.firstWrong++
		}
		if first != want || last != want {
			id := sight.ID(m.container)
			wrongs = append(wrongs, fmt.Sprintf("%s in %s %s, ended at %s: first %s, last %s, want %s\n  %s",
				m.container, m.pod, id, m.when, first, last, want, strings.Join(faultkit.LogOf(id), "\n  ")))
		}
	}
	for _, name := range order {
		c := counts[name]
		faultkit.Keep(t, fmt.Sprintf("kube case=%s kind=%s driver=%s shim=%s n=%d right=%d wrong=%d first_wrong=%d seed=%d",
			label, name, s.driver, s.shim, c.n, c.right, c.n-c.right, c.firstWrong, s.Seed))
	}
	for _, wrong := range wrongs {
		t.Log(wrong)
	}
	if s.shim != "stock" {
		assert.Empty(t, wrongs, "wrong ends in %s, seed %d", label, s.Seed)
	}
}

// over waits until all pods have come to their end.
func (s *suite) over(ctx context.Context, patience time.Duration, subjects []*subject) error {
	_, err := s.Until(ctx, patience, "pods to end", func(pods map[string]*Sight) error {
		for _, m := range subjects {
			if sight := pods[m.pod]; sight == nil || !sight.Over() {
				return fmt.Errorf("pod %s with %s has not ended", m.pod, m.container)
			}
		}
		return nil
	})
	return err
}

// stand waits until each container is where it waits for its moment.
func (s *suite) stand(ctx context.Context, patience time.Duration, subjects []*subject) error {
	pods, err := s.Until(ctx, patience, "pods to run", func(pods map[string]*Sight) error {
		for _, m := range subjects {
			if sight := pods[m.pod]; sight == nil || sight.Pod.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("pod %s does not run", m.pod)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, m := range subjects {
		if m.Mode != "" {
			if m.pipe, err = faultkit.OpenControl(ctx, m.dir); err != nil {
				return err
			}
			continue
		}
		pid, err := faultkit.InitPid(pods[m.pod].ID(m.container))
		if err != nil {
			return err
		}
		err = faultkit.Until(ctx, m.container+" to wait for its moment", func() error { return m.Stands(pid) })
		if err != nil {
			return err
		}
	}
	return nil
}

// end lets a container end.
func (s *suite) end(ctx context.Context, m *subject) error {
	if m.Mode == "" {
		return s.Delete(ctx, m.pod, int64(faultkit.Patience.Seconds()))
	}
	return m.End(m.pipe)
}

// pod makes a pod with a container of each kind, which wait for their moments.
func (s *suite) pod(t *testing.T, class string, kinds ...faultkit.Kind) []*subject {
	t.Helper()
	return s.podWith(t, class, func(*corev1.Pod) {}, kinds...)
}

// podWith makes one that is changed first.
func (s *suite) podWith(t *testing.T, class string, change func(*corev1.Pod), kinds ...faultkit.Kind) []*subject {
	t.Helper()
	name := fmt.Sprintf("pod%04d", serial.Add(1))
	pod := NewPod(name, class)
	subjects := make([]*subject, len(kinds))
	for i, k := range kinds {
		m := &subject{Kind: k, pod: name, container: fmt.Sprintf("%s-%d", k.Name, i)}
		subjects[i] = m
		pod.Spec.Containers = append(pod.Spec.Containers, NewContainer(m.container, faultkit.Limit, k.Line()...))
		if k.Mode == "" {
			continue
		}
		var err error
		m.dir, err = faultkit.MakeControl(name + "-" + m.container)
		require.NoError(t, err)
		MountControl(pod, i, m.dir)
	}
	change(pod)
	require.NoError(t, s.Create(t.Context(), pod))
	return subjects
}
