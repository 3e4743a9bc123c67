//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/kube"
)

// withoutEviction has kubelet leave a full node to the OOM killer, for the rest of
// the guest's life. It would evict pods else, and take none that may use any
// memory for five minutes after.
var withoutEviction = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*faultkit.Patience)
	defer cancel()
	return kube.ConfigureKubelet(ctx, "evictionHard: {memory.available: 0%, nodefs.available: 5%}")
})

// node is the guest with an agent.
type node struct {
	*kube.Cluster
	agent *Process
	state string
	full  bool
}

// setUp starts an agent for the test.
func setUp(t *testing.T, flags ...string) *node {
	t.Helper()
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		t.Skip("needs the cluster of the node's guest, and KUBECONFIG: make kube-agent")
	}
	require.NoError(t, kube.Prepared())
	n := &node{state: t.TempDir(), full: os.Getenv("AGENT_FULL") != ""}
	var err error
	n.Cluster, err = kube.Connect()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	require.NoError(t, n.Ready(t.Context()))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, n.DeleteAll(ctx, 0))
	})
	n.start(t, flags...)
	t.Cleanup(func() {
		if t.Failed() {
			n.explain(t)
		}
		require.NoError(t, n.agent.End(syscall.SIGTERM))
		if t.Failed() {
			t.Log(n.agent.Log())
		}
	})
	return n
}

// explain logs what a failed test looked at: what the agent counts, what the
// ledger holds, and how the pods are.
func (n *node) explain(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	body, err := Get(ctx, "/metrics")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "oomwitness_") && !strings.Contains(line, "_bucket") && !strings.HasSuffix(line, " 0\n") {
			t.Log(strings.TrimSpace(line))
		}
	}
	l, lerr := bpf.Open("")
	if lerr == nil {
		records, rerr := l.Records()
		t.Logf("the ledger has %d victims: %v", len(records), rerr)
		_ = l.Close()
	}
	pods, perr := n.AllPods(ctx)
	for i := range pods {
		t.Logf("%s: %s %+v", pods[i].Name, pods[i].Status.Phase, pods[i].Status.ContainerStatuses)
	}
	if err := errors.Join(err, lerr, perr); err != nil {
		t.Log(err)
	}
}

func (n *node) start(t *testing.T, flags ...string) {
	t.Helper()
	var err error
	n.agent, err = Start(t.Context(), Options{
		Program: faultkit.Command, Kubeconfig: os.Getenv(clientcmd.RecommendedConfigPathEnvVar), Node: "node",
		State: n.state, Flags: flags, Score: "-999", // as unit and chart have it
	})
	require.NoError(t, err)
}

var serial atomic.Int64

// container is one of a pod under test, which waits for its mode.
type container struct {
	pod, name string
	dir       string
	pipe      *os.File
}

// pod makes a pod with a container that waits, and waits until it stands. change
// may change the pod first.
func (n *node) pod(t *testing.T, label string, change func(*corev1.Pod)) *container {
	t.Helper()
	m := &container{pod: fmt.Sprintf("%s-%d", label, serial.Add(1)), name: "app"}
	kind := faultkit.Kind{Mode: "any"}
	pod := kube.NewPod(m.pod, kube.Class, kube.NewContainer(m.name, faultkit.Limit, kind.Line()...))
	var err error
	m.dir, err = faultkit.MakeControl(m.pod)
	require.NoError(t, err)
	kube.MountControl(pod, 0, m.dir)
	if change != nil {
		change(pod)
	}
	require.NoError(t, n.Create(t.Context(), pod))
	m.pipe, err = faultkit.OpenControl(t.Context(), m.dir)
	require.NoError(t, err)
	return m
}

// run has the workload do something.
func (m *container) run(t *testing.T, mode string) {
	t.Helper()
	require.NoError(t, faultkit.Kind{Mode: mode}.End(m.pipe))
}

// init waits for the container's first process, and returns its PID.
func (n *node) init(t *testing.T, m *container) int {
	t.Helper()
	var pid int
	require.NoError(t, faultkit.Until(t.Context(), "the ID of "+m.pod, func() error {
		pod, err := n.Get(t.Context(), m.pod)
		if err != nil {
			return err
		}
		for _, status := range pod.Status.ContainerStatuses {
			if status.Name == m.name && status.ContainerID != "" {
				pid, err = faultkit.InitPid(strings.TrimPrefix(status.ContainerID, "containerd://"))
				return err
			}
		}
		return fmt.Errorf("%v", pod.Status.ContainerStatuses)
	}))
	return pid
}

// cgroup is the container's, as a directory.
func (n *node) cgroup(t *testing.T, m *container) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", n.init(t, m)))
	require.NoError(t, err)
	_, path, ok := strings.Cut(strings.TrimSpace(string(data)), "0::")
	require.True(t, ok, "%s", data)
	return filepath.Join("/sys/fs/cgroup", path)
}

// limit sets a cgroup's memory.max to what it uses now and so much more, in
// bytes, until the test is over.
func limit(t *testing.T, dir string, more int64) {
	t.Helper()
	file := filepath.Join(dir, "memory.max")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, strconv.AppendInt(nil, uses(t, dir)+more, 10), 0o644))
	t.Cleanup(func() {
		if err := os.WriteFile(file, before, 0o644); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	})
}

func uses(t *testing.T, dir string) int64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "memory.current"))
	require.NoError(t, err)
	now, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	require.NoError(t, err)
	return now
}

// of reports whether an OOM event has a victim in a pod.
func of(pod string) func(*Line) bool {
	return func(l *Line) bool {
		for _, v := range l.Victims {
			if v.Pod != nil && v.Pod.Name == pod {
				return true
			}
		}
		return false
	}
}

// bestEffort takes the limits off: the OOM killer then takes it first.
func bestEffort(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].Resources = corev1.ResourceRequirements{}
	}
}

// limited sets the memory limit of the first container, in bytes, and has it
// request less, so that the pod is burstable.
func limited(bytes int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers[0] = withLimit(pod.Spec.Containers[0], bytes)
	}
}

func withLimit(c corev1.Container, bytes int64) corev1.Container {
	c.Resources = kube.NewContainer("", bytes).Resources
	c.Resources.Requests = kube.NewContainer("", 1<<20).Resources.Requests
	return c
}

// event waits for the Event of a pod's OOM kill.
func (n *node) event(t *testing.T, pod string, texts ...string) string {
	t.Helper()
	return n.eventOf(t, pod, "OOMKilling", texts...)
}

// eventOf waits for an Event of a reason about a pod, with all the texts.
func (n *node) eventOf(t *testing.T, pod, reason string, texts ...string) string {
	t.Helper()
	var found string
	require.NoError(t, faultkit.Until(t.Context(), "an Event of "+pod, func() error {
		messages, err := n.Messages(t.Context(), pod, reason)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if holdsAll(m, texts) {
				found = m
				return nil
			}
		}
		return fmt.Errorf("Events %q", messages)
	}))
	return found
}

// took returns the time since a moment for the figures.
func took(since time.Time) int64 { return time.Since(since).Milliseconds() }
