//go:build linux

// Package plugin has tests of "kubectl oomwitness" against a real API server, and a real
// agent that the API server reaches as kubectl's proxy does. There is no kubelet: the
// status of pods is made up, and so are the exits in the spool, which a shim would write.
package plugin

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why"
)

func killed() oom.Verdict {
	return oom.Verdict{
		OOMKilled: true, Ended: oom.EndedOOM, Cause: oom.CauseContainer, Init: oom.Yes, Kills: 1, Rule: oom.RuleInitVictim, Evidence: "ledger", Tier: "A",
		Victims: []oom.Victim{{Seq: 1, At: time.Now(), PID: 4711, Comm: "python3", Lineage: oom.LineageInit, Cause: oom.CauseContainer, Anon: 60 << 20}},
		Memory:  &oom.Memory{Usage: 64 << 20, Limit: 64 << 20, Anon: 60 << 20, Kernel: 4 << 20, Candidates: []oom.Candidate{{PID: 4711, Comm: "python3", RSS: 60 << 20}}},
	}
}

// TestPlugin takes a pod through its life: the agent there, the pod deleted, the agent gone.
func TestPlugin(t *testing.T) {
	b := newBench(t)
	older := oom.Verdict{Ended: oom.EndedSignal, Rule: oom.RuleSender, Evidence: "ledger", Tier: "A", Sent: oom.Yes, Sender: &oom.Sender{PID: 812, Comm: "watchdog"}}
	b.spool(t, b.pod, "", b.pod+"-1", time.Hour, older)
	b.spool(t, b.pod, "", b.pod+"-2", time.Minute, killed())
	b.makePod(t, b.pod, corev1.ContainerStateTerminated{
		ContainerID: "containerd://" + b.pod + "-2", ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.NewTime(time.Now().Add(-time.Minute)),
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"why", b.why}, {"formats", b.formats}, {"nodes and top", b.nodesAndTop}, {"events", b.events}, {"not found", b.notFound},
		{"earlier pod", b.earlierPod},
		{"rights", b.rights}, {"pod deleted", b.podDeleted}, {"agent gone", b.agentGone},
	} {
		t.Run(test.name, test.run)
	}
}

func (b *bench) why(t *testing.T) {
	var out, errs string
	var status int
	require.Eventually(t, func() bool { // the agent reads the spool each second
		out, errs, status = b.run(t, "why", b.pod, "-n", "shop")
		return strings.Contains(out, "python3")
	}, patience, 100*time.Millisecond, "%s%s", out, errs)
	t.Logf("\n%s", out)
	require.Equal(t, why.StatusOOM, status)
	for _, text := range []string{
		"shop/" + b.pod + "/app: OOMKilled, ", "the container's own memory limit of 64.0Mi", "victim       python3, the container's init",
		"filled by    ###################.  94%   60.0Mi  anonymous", "limit 64.0Mi, request 32.0Mi, peak 64.0Mi (100% of the limit)",
		"2 runs of this container ended, 1 of them OOMKilled", "restarts     2", "earlier runs", "killed by a signal, status 137 (SIGKILL)",
	} {
		require.Contains(t, out, text)
	}
	require.NotContains(t, out, "note:")
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, len([]rune(line)), 81, line)
	}
	out, _, status = b.run(t, "why", "pod/"+b.pod, "-n", "shop", "-c", "app", "--previous")
	require.Zero(t, status)
	require.Contains(t, out, "sent by      watchdog\n", "PID and UID are the node's own, without --page-all")
}

func (b *bench) formats(t *testing.T) {
	out, _, status := b.run(t, "why", b.pod, "-n", "shop", "-o", "json")
	require.Equal(t, why.StatusOOM, status)
	d, err := why.Decode([]byte(out))
	require.NoError(t, err)
	require.Equal(t, why.SourceAgent, d.Source)
	require.Equal(t, nodeName, d.Node)
	require.Len(t, d.Runs, 2)
	require.Zero(t, d.Runs[0].PID, "the node's own, without --page-all")
	out, _, _ = b.run(t, "why", b.pod, "-n", "shop", "-o", "yaml")
	require.Contains(t, out, "\n    ended: oom\n")
	out, _, _ = b.run(t, "why", b.pod, "-n", "shop", "-o", "wide")
	require.Contains(t, out, "evidence     ledger, tier A; rule 1; init a victim: yes; 1 OOM kill\n")
}

func (b *bench) nodesAndTop(t *testing.T) {
	out, _, _ := b.run(t, "nodes")
	t.Logf("\n%s", out)
	require.Regexp(t, `(?m)^node-a +(yes|no) +[ABC-] `, out)
	out, _, status := b.run(t, "top", "-n", "shop", "--since", "2h")
	require.Zero(t, status)
	t.Logf("\n%s", out)
	require.Regexp(t, `(?m)^WORKLOAD +CONTAINER +OOM +KILLS +ENDED +LAST +CAUSE +PEAK +LIMIT$`, out)
	require.Regexp(t, `(?m)^web-7d4b9c\S* +app +1 +\d+ +2 `, out)
	out, _, _ = b.run(t, "top", "-A", "-o", "json")
	require.Contains(t, out, `"namespace": "shop"`)
}

func (b *bench) events(t *testing.T) {
	event := func(name, message string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Reason: "OOMKilling", Message: message, Type: "Warning", Count: 3,
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: b.pod}, LastTimestamp: metav1.Now(),
		}
	}
	events := b.Client.CoreV1().Events("shop")
	_, err := events.Create(t.Context(), event("a", "Killed process python3"), metav1.CreateOptions{})
	require.NoError(t, err)
	out, _, status := b.run(t, "events", "-n", "shop")
	require.Zero(t, status)
	require.Contains(t, out, "3  "+b.pod+"  Killed process python3\n")

	cmd, lines := b.begin(t, "events", "-A", "-w")
	require.True(t, lines.Scan(), "the titles")
	require.True(t, lines.Scan(), "the Event that is there")
	_, err = events.Create(t.Context(), event("b", "Killed process java"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "shop/"+b.pod+"  Killed process java")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), "Ctrl-C is no failure")
}

// earlierPod: a run of an earlier pod with the same name is not taken for the pod's.
func (b *bench) earlierPod(t *testing.T) {
	b.spool(t, "db-0", "earlier", "db-0-1", time.Hour, killed())
	b.makePod(t, "db-0", corev1.ContainerStateTerminated{ContainerID: "containerd://db-0-2", ExitCode: 3, Reason: "Error", FinishedAt: metav1.Now()})
	var out string
	require.Eventually(t, func() bool {
		out, _, _ = b.run(t, "why", "db-0", "-n", "shop")
		return strings.Contains(out, "earlier runs")
	}, patience, 100*time.Millisecond)
	require.Contains(t, out, "shop/db-0/app: ended with exit status 3")
	require.Contains(t, out, "note: runs of an earlier pod with the same name: 1")
}

func (b *bench) notFound(t *testing.T) {
	for want, args := range map[string][]string{
		`pod "nobody" is not in namespace "shop", and none of the 1 agents knows`: {"why", "nobody", "-n", "shop"},
		`container "nothing" is not in pod ` + b.pod + `: there are app`:          {"why", b.pod, "-n", "shop", "-c", "nothing"},
	} {
		_, errs, status := b.run(t, args...)
		require.Equal(t, why.StatusNotFound, status, errs)
		require.Contains(t, errs, want)
		require.Equal(t, 1, strings.Count(errs, "\n"))
	}
}

// podDeleted: the agent still knows.
func (b *bench) podDeleted(t *testing.T) {
	require.NoError(t, b.Client.CoreV1().Pods("shop").Delete(t.Context(), b.pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	out, _, status := b.run(t, "why", b.pod, "-n", "shop")
	require.Equal(t, why.StatusOOM, status)
	require.Contains(t, out, "python3")
	require.Contains(t, out, "note: the pod was deleted")
}

// agentGone: the status of the pod is what is left, and the plugin says so.
func (b *bench) agentGone(t *testing.T) {
	require.NoError(t, b.Client.CoreV1().Pods("oomwitness").Delete(t.Context(), b.agent.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	ended := corev1.ContainerStateTerminated{ContainerID: "containerd://x", ExitCode: 137, Reason: "Error", FinishedAt: metav1.Now()}
	b.makePod(t, "killed", ended)
	out, _, status := b.run(t, "why", "killed", "-n", "shop")
	t.Logf("\n%s", out)
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, out, `ended by     not known, because the status of the pod says "Error"`)
	require.Contains(t, out, "note: the agent on node node-a was not asked or did not answer: no agent")
	ended.Reason = "OOMKilled"
	b.makePod(t, "oom", ended)
	out, _, status = b.run(t, "why", "oom", "-n", "shop")
	require.Equal(t, why.StatusOOM, status)
	require.Contains(t, out, "OOMKilled")
	require.Contains(t, out, "no Event of an OOM kill")
	_, errs, status := b.run(t, "top", "-A")
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, errs, "no pod has the labels app.kubernetes.io/name=oomwitness")
	out, _, status = b.run(t, "nodes")
	require.Equal(t, why.StatusNoAgent, status)
	require.Regexp(t, `(?m)^node-a +no +- +- +- +- +no agent runs there$`, out)
}
