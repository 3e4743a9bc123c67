//go:build linux

package agentstorm

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

const (
	// Of goodPods one in turn is hit each goodEvery: a pod has 25 Events at once, and one
	// each 30 s.
	goodPods, goodEvery = 5, 5 * time.Second
	bystanders          = 10
	// inTime is how long after its kill a good pod's Event is there, at most.
	inTime = 10 * time.Second
	// halfACore is the most CPU that the agent may use, percent of one CPU.
	halfACore = 50
	// probeTime is what the chart's probes give the agent.
	probeTime = 5 * time.Second
	label     = "oom.example.com/victim"
)

// flood is a node of whose tenants 50 do what they can against the agent.
type flood struct {
	*floods
	plane            *controlplane.Plane
	agent            *agent.Process
	good, bystanders []testPod
	reported         map[string]int // Events that good pods are to have, by UID
	// After a kill in a good pod: until it is in the agent's log, and until the API server
	// has its Event.
	inLog, took []time.Duration
	cgroup      string  // the agent's
	charged     charged // the most of each
	rss         int     // the most resident, KiB
}

// TestFlood: while 50 tenants flood the agent for AGENT_FLOOD seconds with kills, cgroups,
// pods and connections, each kill in a well-behaved pod is an Event in 10 s, probes are
// answered, the agent stays below the chart's memory limit and half a core, and pods
// without kills get no name in the log, no Event, no label and no eviction.
func TestFlood(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	length := time.Duration(counts.FromEnv(t, "AGENT_FLOOD", 20)) * time.Second
	program, pins := shimtest.Command(t), loaded(t)
	f := &flood{plane: controlplane.Start(t), reported: map[string]int{}}
	pods := newPods(t, f.plane)
	for i := range goodPods {
		f.good = append(f.good, f.add(t, pods, fmt.Sprintf("good-%d", i)))
	}
	still := pods.in(t, "still")
	for i := range bystanders {
		f.bystanders = append(f.bystanders, f.add(t, still, fmt.Sprintf("still-%d", i)))
	}
	f.floods = newFloods(t, pods, f.bystanders)
	limit := chartLimit(t)
	requireRoom(t, program, limit)
	f.cgroup = filepath.Join(filepath.Dir(pods.kubepods), "agent")
	oomtest.MakeCgroup(t, pods.hierarchy, f.cgroup, limit)
	var err error
	f.agent, err = agent.Start(t.Context(), agent.Options{
		Program: enters(t, f.cgroup, cold(t, program)), Kubeconfig: f.plane.Kubeconfig, Node: nodeName, State: t.TempDir(),
		Flags: append(pins, "--address", "", "--kubelet-cgroup-root", cgroupRoot, "--health-address", healthListen,
			"--victim-label", label+"=true", "--mark-causes", "container,pod,ancestor,node,unknown", "--evict", "--evict-every", "1s"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.agent.End(syscall.SIGKILL) }) // where the test has failed
	cpu, began := shimtest.CPUTime(t, f.agent.PID()), time.Now()
	f.runFor(t, length)
	lasted := time.Since(began)
	used := 100 * (shimtest.CPUTime(t, f.agent.PID()) - cpu).Seconds() / lasted.Seconds()
	f.print(t, lasted, used, limit)
	require.NoError(t, faultkit.Until(t.Context(), "all kills of good pods in the log", func() error { return f.logged() }))
	f.judgeOthers(t)
	require.Zero(t, f.charged.ooms, "OOM kills in the agent's cgroup")
	require.Less(t, f.charged.refaults, int64(mostRefaults), "pages that were read again, since the cgroup had no room")
	require.LessOrEqual(t, int64(f.rss)<<10, limit, "bytes resident, and the chart's limit")
	require.LessOrEqual(t, f.charged.anon>>10, int64(maxResident), "KiB of its own")
	require.Less(t, used, float64(halfACore), "percent of one CPU")
	require.LessOrEqual(t, slices.Max(f.took), inTime, "from a kill to its Event")
	require.NoError(t, f.agent.End(syscall.SIGTERM))
}

func (f *flood) add(t *testing.T, pods *podSet, name string) testPod {
	t.Helper()
	p, err := pods.add(t.Context(), name)
	require.NoError(t, err)
	return p
}

// enters returns a program that enters a cgroup and executes another.
func enters(t *testing.T, cgroup, program string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "agent")
	text := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs || exit\nexec %s \"$@\"\n", cgroup, program)
	require.NoError(t, os.WriteFile(name, []byte(text), 0o700))
	return name
}

// chartLimit returns the memory limit of the agent in the Helm chart, in bytes.
func chartLimit(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("../../runtime-class/chart/values.yaml")
	require.NoError(t, err)
	var values struct {
		Agent struct {
			Resources struct {
				Limits struct{ Memory resource.Quantity }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(data, &values))
	require.Positive(t, values.Agent.Resources.Limits.Memory.Value())
	return values.Agent.Resources.Limits.Memory.Value()
}

// runFor has the tenants flood for so long, the good pods hit in turn, and the agent probed
// and looked at each second.
func (f *flood) runFor(t *testing.T, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { f.run(ctx, t) })
	work.Go(func() {
		n := 0
		every(ctx, goodEvery, func() {
			f.hit(t, f.good[n%goodPods])
			n++
		})
	})
	every(ctx, sampleEvery, func() {
		probe, stop := context.WithTimeout(t.Context(), probeTime)
		defer stop()
		r, err := http.NewRequestWithContext(probe, http.MethodGet, "http://"+healthListen+"/healthz", nil)
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Errorf("probe: %v", err)
		} else {
			_ = answer.Body.Close()
		}
		f.charged.max(chargedTo(t, f.pods.hierarchy, f.cgroup))
		rss, _ := resident(t, f.agent.PID())
		f.rss = max(f.rss, rss)
	})
}

// hit has the OOM killer end a process in a good pod, and waits for its Event.
func (f *flood) hit(t *testing.T, p testPod) {
	pid := oomtest.KillSmallIn(t, p.container)
	if pid == 0 {
		return
	}
	f.reported[p.uid]++
	killed := time.Now()
	_, err := f.agent.Find(t.Context(), p.name, func(l *agent.Line) bool {
		v := &l.Victims[0]
		return v.Pod != nil && v.Pod.UID == p.uid && int(v.PID) == pid
	})
	if err != nil {
		t.Error(err)
	}
	f.inLog = append(f.inLog, time.Since(killed))
	err = faultkit.Until(t.Context(), "an Event on "+p.name, func() error {
		list, err := f.plane.Client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{
			FieldSelector: "reason=OOMKilling,involvedObject.uid=" + p.uid,
		})
		sum := 0
		if err == nil {
			for i := range list.Items {
				sum += int(list.Items[i].Count)
			}
		}
		if err == nil && sum != f.reported[p.uid] {
			err = fmt.Errorf("%d kills in Events, of %d", sum, f.reported[p.uid])
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	f.took = append(f.took, time.Since(killed))
}

// logged returns an error until the log has each kill of good pods, and no more.
func (f *flood) logged() error {
	seen := map[string]int{}
	for _, line := range f.agent.Lines() {
		for i := range line.Victims {
			if pod := line.Victims[i].Pod; pod != nil {
				seen[pod.UID]++
			}
		}
	}
	for _, p := range f.good {
		if seen[p.uid] != f.reported[p.uid] {
			return fmt.Errorf("%s: %d kills in the log, of %d", p.name, seen[p.uid], f.reported[p.uid])
		}
	}
	for _, p := range f.bystanders {
		if seen[p.uid] != 0 {
			return fmt.Errorf("%s: %d kills in the log, and there was none", p.name, seen[p.uid])
		}
	}
	return nil
}

// judgeOthers looks for what the bystanders must not have, and the tenants do.
func (f *flood) judgeOthers(t *testing.T) {
	t.Helper()
	api := f.plane.Client.CoreV1()
	events, err := api.Events("still").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, events.Items)
	all, err := api.Pods(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	marked, evicted := 0, 0
	for i := range all.Items {
		p := &all.Items[i]
		isMarked, isEvicted := p.Labels[label] != "", p.DeletionTimestamp != nil
		if p.Namespace == "still" {
			require.False(t, isMarked || isEvicted, p.Name)
		}
		if strings.HasPrefix(p.Name, "good-") {
			require.False(t, isEvicted, "it has no controller")
		}
		if isMarked {
			marked++
		}
		if isEvicted {
			evicted++
		}
	}
	t.Logf("metric=agent-flood-marks marked=%d evicted=%d", marked, evicted)
	require.Positive(t, marked, "tenants' pods are marked: the check of the others can fail")
	require.Positive(t, evicted)
}
