//go:build linux

package agent

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/kube"
)

// cases are whose limit may fire, seen from a pod's container.
var cases = []struct {
	cause string
	// change is the pod's, before what is done once it stands, mode what its
	// container then does, after what the test does meanwhile.
	change func(*corev1.Pod)
	before func(t *testing.T, n *node, m *container)
	mode   string
	after  func(t *testing.T, n *node, m *container)
	words  string // in the Event
	fills  bool   // much of the node's memory
}{
	{
		// Another container's limit is the pod's as well.
		cause: "container", mode: "hog", words: "the container's memory limit of 24.0 MiB",
		change: func(pod *corev1.Pod) {
			pod.Spec.Containers = append(pod.Spec.Containers, kube.NewContainer("beside", 64<<20, "/workload", "sleep", "1000000"))
		},
	}, {
		cause: "pod", mode: "hog", words: "the pod's memory limit of ", change: limited(256 << 20),
		before: func(t *testing.T, n *node, m *container) { limit(t, filepath.Dir(n.cgroup(t, m)), 24<<20) },
	}, {
		cause: "ancestor", mode: "hog", words: "of a cgroup above the pod", change: limited(256 << 20),
		before: func(t *testing.T, n *node, m *container) {
			limit(t, filepath.Dir(filepath.Dir(n.cgroup(t, m))), 24<<20)
		},
	}, {
		cause: "cpuset", mode: "gulp", words: "its cpuset", change: bestEffort, fills: true,
		before: func(t *testing.T, n *node, m *container) {
			require.NoError(t, os.WriteFile(filepath.Join(n.cgroup(t, m), "cpuset.mems"), []byte("1"), 0o644))
		},
	}, {
		cause: "sysrq", mode: "gulp 200", words: "sysrq f", change: bestEffort, fills: true,
		after: func(t *testing.T, n *node, m *container) {
			dir := n.cgroup(t, m)
			require.NoError(t, faultkit.Until(t.Context(), "200 MiB", func() error {
				if now := uses(t, dir); now < 200<<20 {
					return fmt.Errorf("%d bytes", now)
				}
				return nil
			}))
			require.NoError(t, os.WriteFile("/proc/sysrq-trigger", []byte("f"), 0))
		},
	}, {
		cause: "node", mode: "gulp", words: "the node was out of memory", change: bestEffort, fills: true,
	},
}

// TestCauses: each cause is reported rightly by log, Event, metrics and API.
func TestCauses(t *testing.T) {
	n := setUp(t)
	for _, c := range cases {
		t.Run(c.cause, func(t *testing.T) {
			if c.fills {
				require.NoError(t, withoutEviction())
			}
			m := n.pod(t, c.cause, c.change)
			if c.before != nil {
				c.before(t, n, m)
			}
			pid := n.init(t, m)
			began := time.Now()
			m.run(t, c.mode)
			if c.after != nil {
				c.after(t, n, m)
			}
			line, err := n.agent.Find(t.Context(), m.pod, of(m.pod))
			require.NoError(t, err)
			v := line.Victims[0]
			require.Equal(t, c.cause, line.Cause, "%+v", line)
			require.Equal(t, "workload", v.Comm)
			require.EqualValues(t, pid, v.PID)
			require.Equal(t, "app", v.Container.Name)
			require.Equal(t, "container", v.Container.Kind)
			require.Equal(t, faultkit.Image, v.Container.Image)
			require.Equal(t, kube.Namespace, v.Pod.Namespace)
			require.Contains(t, []string{"A", "B"}, line.Tier)
			require.NotNil(t, line.LimitBytes, "also where systemd has removed the cgroup with its last process: the node has no swap")
			event := n.event(t, m.pod, "workload (pid "+strconv.Itoa(pid)+")", c.words)
			one, err := Counted(t.Context(), `cause="`+c.cause+`"`, `pod="`+m.pod+`"`, `container="app"`)
			require.NoError(t, err)
			require.EqualValues(t, 1, one)
			n.onPage(t, m.pod, c.cause, line.ID)
			faultkit.Keep(t, fmt.Sprintf("agent cause=%s ms=%d event=%q", c.cause, took(began), event))
		})
	}
	n.keepSeen(t)
}

// keepSeen keeps what an operator sees of it all, for the documentation's pictures
// (cmd/screenshot): the page, and what trace prints.
func (n *node) keepSeen(t *testing.T) {
	t.Helper()
	for name, path := range map[string]string{"page.html": "/", "page.css": "/page.css"} {
		body, err := Get(t.Context(), path)
		require.NoError(t, err)
		faultkit.KeepFile(t, name, []byte(body))
	}
	table, err := exec.CommandContext(t.Context(), faultkit.Command, "trace", "--follow=false").Output()
	require.NoError(t, err)
	faultkit.KeepFile(t, "trace.txt", table)
}

// onPage looks for an OOM event of a pod in the API and on the page.
func (n *node) onPage(t *testing.T, pod, cause, id string) {
	t.Helper()
	query := url.Values{"pod": {pod}, "namespace": {kube.Namespace}}.Encode()
	body, err := Get(t.Context(), "/api/v1/events?"+query)
	require.NoError(t, err)
	var answer struct {
		Events []struct{ ID, Cause string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Len(t, answer.Events, 1, body)
	require.Equal(t, cause, answer.Events[0].Cause)
	require.Equal(t, id, answer.Events[0].ID)
	html, err := Get(t.Context(), "/?"+query)
	require.NoError(t, err)
	require.Contains(t, html, pod)
}

// TestOutside: victims in no pod are named by their systemd unit, and reported on the
// node.
func TestOutside(t *testing.T) {
	n := setUp(t)
	const unit = "oomwitness-outside.service"
	run := exec.CommandContext(t.Context(), "systemd-run", "--unit="+unit, "--collect", "-p", "MemoryMax=32M",
		"/opt/oomwitness/bin/oomwitness-workload", "hog")
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	line, err := n.agent.Find(t.Context(), unit, func(l *Line) bool { return l.Victims[0].Unit == unit })
	require.NoError(t, err)
	require.Equal(t, "container", line.Cause, "its own limit")
	require.Nil(t, line.Victims[0].Pod)
	require.EqualValues(t, 32<<20, *line.LimitBytes)
	n.event(t, "node", "oomwitness-work", unit)
}

// TestDeletedAtOnce: a pod that is deleted within a second of its OOM is named.
func TestDeletedAtOnce(t *testing.T) {
	n := setUp(t)
	m := n.pod(t, "deleted", nil)
	pid := n.init(t, m)
	m.run(t, "hog")
	require.NoError(t, faultkit.Until(t.Context(), "the kill", func() error {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			return fmt.Errorf("%d is there", pid)
		}
		return nil
	}))
	killed := time.Now()
	require.NoError(t, n.Delete(t.Context(), m.pod, 0))
	require.Less(t, time.Since(killed), time.Second, "the machine is too slow for this test")
	line, err := n.agent.Find(t.Context(), m.pod, of(m.pod))
	require.NoError(t, err)
	require.Equal(t, "app", line.Victims[0].Container.Name)
	n.event(t, m.pod, "workload (pid "+strconv.Itoa(pid)+")")
}
