//go:build linux

package kube

import (
	"context"
	"fmt"
	"os"
	"slices"
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
	evicted   bool     // its pod: kubelet may make the status up
	dir       string   // of its control
	pipe      *os.File // carries the mode
}

// madeUp is the end of a container of which kubelet finds no status. kubelet removes the
// dead containers of a pod that kubelet evicts at once, whatever the runtime, often before
// kubelet itself has read their statuses (k8s.io/kubernetes v1.36.3 pkg/kubelet: kubelet.go,
// cleanUpContainersInPod; pod_workers.go, ShouldPodContentBeRemoved; kubelet_pods.go,
// convertToAPIContainerStatuses). No other pod has such an end: kubelet removes their
// containers when their statuses are written.
const madeUp = "ContainerStatusUnknown 137"

// count is what was shown of the containers of one kind.
type count struct{ n, right, wrong, madeUp, firstWrong int }

// add counts a container by the ends that were shown of the container, and reports whether
// each of them was right.
func (c *count) add(m *subject, want string, ends []string) (right bool) {
	c.n++
	made := m.evicted && len(ends) > 0 && ends[len(ends)-1] == madeUp
	if made {
		ends = ends[:len(ends)-1]
	}
	if !made && len(ends) == 0 || len(ends) > 0 && ends[0] != want {
		c.firstWrong++
	}
	switch {
	case !made && len(ends) == 0, slices.ContainsFunc(ends, func(end string) bool { return end != want }):
		c.wrong++
		return false
	case made:
		c.madeUp++
	default:
		c.right++
	}
	return true
}

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
		sight, want := pods[m.pod], fmt.Sprintf("%s %d", m.Reason, m.Code)
		if ends := sight.Ends[m.container]; !c.add(m, want, ends) {
			id := sight.ID(m.container)
			wrongs = append(wrongs, fmt.Sprintf("%s in %s %s, ended at %s: the API said %q, want %s\n  %s",
				m.container, m.pod, id, m.when, ends, want, faultkit.LogEnd(id)))
		}
	}
	for _, name := range order {
		c := counts[name]
		faultkit.Keep(t, fmt.Sprintf("kube case=%s kind=%s driver=%s shim=%s n=%d right=%d made_up=%d wrong=%d first_wrong=%d seed=%d",
			label, name, s.driver, s.shim, c.n, c.right, c.madeUp, c.wrong, c.firstWrong, s.Seed))
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
