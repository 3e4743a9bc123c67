//go:build linux

package plugin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect/collecttest"
)

// life is what has become of the containers since they ended. The lives follow one another.
type life struct {
	name string
	// change makes it so, for all containers.
	change func(*verdicts, *testing.T)
	// check looks at the page of one.
	check func(v *verdicts, t *testing.T, name string, e collecttest.Ending)
}

var lives = []life{
	{"gone", func(v *verdicts, t *testing.T) { v.statuses(t, 0, false) }, (*verdicts).right},
	{"alive", func(v *verdicts, t *testing.T) { v.statuses(t, 1, true) }, (*verdicts).alive},
	{"restarted five times", (*verdicts).restarted, (*verdicts).counted},
	{"agent restarted", (*verdicts).agentRestarted, (*verdicts).counted},
	{"node away", (*verdicts).nodeAway, (*verdicts).fromStatus},
	{"pod deleted", (*verdicts).deleted, (*verdicts).stillKnown},
}

// verdicts is a cluster with a pod for each ending.
type verdicts struct {
	*bench
	ended time.Time
	empty string // a spool without exits
}

// TestVerdicts: for each verdict, in each life of the container after its end, the plugin
// is right, or says that a fact is not known and why.
func TestVerdicts(t *testing.T) {
	v := &verdicts{bench: newBench(t), ended: time.Now().Add(-time.Minute).Truncate(time.Millisecond), empty: t.TempDir()}
	for name, e := range collecttest.Endings {
		v.create(t, name)
		require.NoError(t, exits.Append(v.spoolDir, e.Exit(name+"-0", v.podOf(name), v.ended)))
	}
	for _, life := range lives {
		t.Run(life.name, func(t *testing.T) {
			life.change(v, t)
			for _, name := range slices.Sorted(maps.Keys(collecttest.Endings)) {
				t.Run(name, func(t *testing.T) { life.check(v, t, name, collecttest.Endings[name]) })
			}
		})
	}
}

// podOf returns the pod of an ending, as the shim names the pod.
func (v *verdicts) podOf(name string) exits.Pod {
	return exits.Pod{Namespace: "shop", Name: name, Container: "app", Image: "registry.invalid/web:1"}
}

func (v *verdicts) create(t *testing.T, name string) {
	t.Helper()
	_, err := v.Client.CoreV1().Pods("shop").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{NodeName: nodeName, Containers: []corev1.Container{{
			Name: "app", Image: "registry.invalid/web:1",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}},
		}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// reason is what kubelet writes for an ending.
func reason(e collecttest.Ending) string {
	switch {
	case e.Says == collecttest.OOMKilled:
		return "OOMKilled"
	case e.Reported() == 0:
		return "Completed"
	}
	return "Error"
}

// statuses writes the status of all pods.
func (v *verdicts) statuses(t *testing.T, restarts int32, running bool) {
	t.Helper()
	for name, e := range collecttest.Endings {
		ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ContainerID: "containerd://" + name + "-0", ExitCode: int32(e.Reported()), Reason: reason(e), FinishedAt: metav1.NewTime(v.ended),
		}}
		status := corev1.ContainerStatus{Name: "app", RestartCount: restarts, State: ended}
		if running {
			status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
			status.LastTerminationState, status.ContainerID = ended, "containerd://"+name+"-now"
		}
		pod, err := v.Client.CoreV1().Pods("shop").Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{status}}
		_, err = v.Client.CoreV1().Pods("shop").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
}

// page returns the page of an ending's pod when the agent has read so many runs.
func (v *verdicts) page(t *testing.T, name string, runs int) (out string, status int) {
	t.Helper()
	require.Eventually(t, func() bool { // the agent reads the spool each second
		out, _, status = v.run(t, "why", name, "-n", "shop")
		return strings.Contains(out, fmt.Sprintf("  last 24 h    %d run", runs))
	}, patience, 100*time.Millisecond)
	return out, status
}

// explained: the page is complete, and says what ended the run.
func (v *verdicts) explained(t *testing.T, e collecttest.Ending, out string, status int) {
	t.Helper()
	require.Regexp(t, `(?m)^shop/[a-z0-9-]+/app: `+e.Says+`, \d+[sm] ago$`, out)
	e.Complete(t, out)
	want := 0
	if e.Says == collecttest.OOMKilled {
		want = why.StatusOOM
	}
	require.Equal(t, want, status)
}

func (v *verdicts) right(t *testing.T, name string, e collecttest.Ending) {
	out, status := v.page(t, name, 1)
	v.explained(t, e, out, status)
	require.Contains(t, out, "request 32.0Mi")
	require.NotContains(t, out, "pid 400", "the node's own")
	require.NotContains(t, out, "note:")
}

func (v *verdicts) alive(t *testing.T, name string, e collecttest.Ending) {
	out, status := v.page(t, name, 1)
	v.explained(t, e, out, status)
	require.Contains(t, out, "now          the container runs again\n")
	require.Contains(t, out, "restarts     1\n")
}

// restarted adds five ends before the newest.
func (v *verdicts) restarted(t *testing.T) {
	for name, e := range collecttest.Endings {
		for i := range 5 {
			at := v.ended.Add(-time.Duration(i+1) * time.Hour)
			require.NoError(t, exits.Append(v.spoolDir, e.Exit(fmt.Sprintf("%s-%d", name, i+1), v.podOf(name), at)))
		}
	}
	v.statuses(t, 5, true)
}

func (v *verdicts) counted(t *testing.T, name string, e collecttest.Ending) {
	out, status := v.page(t, name, 6)
	v.explained(t, e, out, status)
	require.Contains(t, out, "restarts     5\n")
	require.Equal(t, 5, strings.Count(out[strings.Index(out, "  earlier runs"):], e.Says+", "))
	oom := 0
	if e.Says == collecttest.OOMKilled {
		oom = 6
	}
	require.Contains(t, out, fmt.Sprintf("6 runs of this container ended, %d of them OOMKilled", oom))
}

// agentRestarted kills the agent, and empties the spool: the new agent knows what it kept.
func (v *verdicts) agentRestarted(t *testing.T) {
	v.kill()
	v.spoolDir = v.empty
	v.start(t)
}

// nodeAway: the agent does not answer, and its pod is still said to run.
func (v *verdicts) nodeAway(t *testing.T) {
	v.kill()
	node, err := v.Client.CoreV1().Nodes().Get(t.Context(), nodeName, metav1.GetOptions{})
	require.NoError(t, err)
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status.",
		LastTransitionTime: metav1.NewTime(v.ended), LastHeartbeatTime: metav1.NewTime(v.ended),
	}}
	_, err = v.Client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// fromStatus: without the agent the page has what the status of the pod says, and claims no
// more.
func (v *verdicts) fromStatus(t *testing.T, name string, e collecttest.Ending) {
	out, _, status := v.run(t, "why", name, "-n", "shop")
	flat := strings.Join(strings.Fields(out), " ")
	require.Contains(t, flat, "note: the agent on node node-a was not asked or did not answer: ")
	require.Contains(t, flat, "note: node node-a is not ready since ")
	require.Contains(t, flat, "now the container runs again")
	require.Contains(t, flat, "peak not known, because ")
	if e.Says == collecttest.OOMKilled {
		require.Equal(t, why.StatusOOM, status)
		require.Contains(t, flat, ": OOMKilled, ")
		require.Contains(t, flat, "whose limit was exceeded is not known, because ")
		require.Contains(t, flat, "victim not known, because ")
		return
	}
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, flat, fmt.Sprintf(": ended with exit status %d, ", e.Reported()))
	require.Contains(t, flat, `ended by not known, because the status of the pod says "`+reason(e)+`"`)
}

// deleted deletes all pods. The agent runs again.
func (v *verdicts) deleted(t *testing.T) {
	v.start(t)
	for name := range collecttest.Endings {
		require.NoError(t, v.Client.CoreV1().Pods("shop").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	}
}

func (v *verdicts) stillKnown(t *testing.T, name string, e collecttest.Ending) {
	out, status := v.page(t, name, 6)
	v.explained(t, e, out, status)
	require.Contains(t, out, "note: the pod was deleted")
}
