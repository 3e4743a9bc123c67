//go:build linux

package chart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// kill makes a pod that reaches its limit, and gives it as it ended, with the Event
// of it.
func (a *theAgent) kill(t *testing.T, manifest string) (*corev1.Pod, corev1.Event) {
	t.Helper()
	asked := &corev1.Pod{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(manifest), asked))
	pods := a.core.Pods("default")
	killed, err := pods.Create(t.Context(), asked, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		soon := *metav1.NewDeleteOptions(1)
		require.NoError(t, pods.Delete(context.WithoutCancel(t.Context()), killed.Name, soon))
	})
	require.NoError(t, faultkit.Until(t.Context(), "the end of "+killed.Name, func() error {
		if killed, err = pods.Get(t.Context(), asked.Name, metav1.GetOptions{}); err == nil && killed.Status.Phase != corev1.PodFailed {
			err = errors.New(string(killed.Status.Phase))
		}
		return err
	}))
	var event corev1.Event
	require.NoError(t, faultkit.Until(t.Context(), "an Event of "+killed.Name, func() error {
		events, err := a.core.Events(killed.Namespace).List(t.Context(), metav1.ListOptions{
			FieldSelector: fields.Set{"involvedObject.uid": string(killed.UID), "reason": "OOMKilling"}.String(),
		})
		if err != nil {
			return err
		}
		if len(events.Items) != 1 {
			return fmt.Errorf("%d Events", len(events.Items))
		}
		event = events.Items[0]
		return nil
	}))
	return killed, event
}

// line waits for what the log says of a pod's kill.
func (a *theAgent) line(t *testing.T, name string) (found agent.Line) {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), "a line of "+name, func() error {
		log, err := try(t, "", "kubectl", "-n", namespace, "logs", "daemonset/"+agentName)
		if err != nil {
			return err
		}
		for text := range strings.Lines(log) {
			var line agent.Line
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				return fmt.Errorf("%q: %w", text, err)
			}
			if line.Msg == "OOM kill" && line.Victims[0].Pod != nil && line.Victims[0].Pod.Name == name {
				found = line
				return nil
			}
		}
		return errors.New("none")
	}))
	return found
}

// reports: of a container that reached its limit report Event, log, metrics, API and
// page, and none of them shows what is the node's own.
func (a *theAgent) reports(t *testing.T) {
	hog, event := a.kill(t, example(t, hogExample))
	t.Logf("chart agent event=%q", event.Message)
	require.Regexp(t, `^Killed process tail \(pid \d+\), .*: the container's memory limit of 32\.0 MiB was reached(, filled by .*)?$`, event.Message)
	require.EqualValues(t, 1, event.Count)
	require.Equal(t, "spec.containers{main}", event.InvolvedObject.FieldPath)
	require.Equal(t, corev1.EventSource{Component: "oomwitness", Host: node}, event.Source)

	line := a.line(t, "hog")
	require.Equal(t, "container", line.Cause)
	require.Equal(t, "A", line.Tier)
	require.EqualValues(t, 32<<20, *line.LimitBytes)
	require.Len(t, line.Victims, 1)
	victim := line.Victims[0]
	require.Equal(t, "tail", victim.Comm)
	require.Equal(t, []string{"default", string(hog.UID)}, []string{victim.Pod.Namespace, victim.Pod.UID})
	require.Equal(t, []string{"main", "busybox:1.37"}, []string{victim.Container.Name, victim.Container.Image})
	require.Equal(t, hog.Status.ContainerStatuses[0].ContainerID, "containerd://"+victim.Container.ID)

	a.counted(t, "hog")
	require.EqualValues(t, 1, a.metric(t, "oomwitness_oom_kills_total", `container="main"`))
	require.EqualValues(t, 1, a.metric(t, "oomwitness_events_total", `stage="reported"`))
	require.EqualValues(t, 1, a.metric(t, "oomwitness_ledger_tier", `tier="A"`))
	require.Zero(t, a.metric(t, "oomwitness_events_total", `reason="forbidden"`))

	body, err := a.get(t, "/api/v1/events", map[string]string{"namespace": "default", "pod": "hog"})
	require.NoError(t, err)
	t.Logf("chart agent api=%s", body)
	var answer agenttest.Answer
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Equal(t, node, answer.Node)
	require.Len(t, answer.Events, 1)
	require.Equal(t, line.ID, answer.Events[0].ID)
	require.Equal(t, "main", answer.Events[0].Victims[0].Container.Name)
	require.Zero(t, answer.Events[0].Victims[0].IDs, "that is the node's own")
	body, err = a.get(t, "/", nil)
	require.NoError(t, err)
	require.Contains(t, body, "hog")
}

// counted: each of the pods has one kill in the metrics, at its container's limit,
// and nobody else has. Which container it was is for reports: containerd has half a
// second to name it, which a guest without processor time does not keep.
func (a *theAgent) counted(t *testing.T, pods ...string) {
	t.Helper()
	for _, name := range pods {
		require.EqualValues(t, 1, a.metric(t, "oomwitness_oom_kills_total", `cause="container"`, `namespace="default"`, `pod="`+name+`"`), name)
	}
	require.EqualValues(t, len(pods), a.metric(t, "oomwitness_oom_kills_total"))
	require.EqualValues(t, len(pods), a.metric(t, "oomwitness_oom_victims_total"))
	require.EqualValues(t, len(pods), a.metric(t, "oomwitness_events_total", `stage="observed"`))
}

// marks: configured so, the agent marks the pod that reached the pod's limit, and not the
// one at its container's. Evictions leave alone what nobody makes again.
func (a *theAgent) marks(t *testing.T) {
	_, err := typed(t, enableAgent, "--set", "agent.mark.label=oom.example.com/victim=true",
		"--set", "agent.mark.annotation=oom.example.com/by=agent", "--set", "agent.evict=true", "--set", "agent.logLevel=debug")
	require.NoError(t, err)
	a.rolledOut(t)
	a.mayOnly(t, "a mark", "`agent.evict`")

	own, event := a.kill(t, named(t, "own"))
	require.Contains(t, event.Message, "the container's memory limit")
	// Without the overhead that the RuntimeClass adds the pod's limit is met first.
	stock := strings.Replace(named(t, "whole"), "  runtimeClassName: oomwitness\n", "", 1)
	whole, event := a.kill(t, stock)
	t.Logf("chart agent event=%q", event.Message)
	require.Contains(t, event.Message, "the pod's memory limit")
	require.Equal(t, "pod", a.line(t, "whole").Cause)

	pods := a.core.Pods(whole.Namespace)
	require.NoError(t, faultkit.Until(t.Context(), "the mark", func() error {
		if whole, err = pods.Get(t.Context(), whole.Name, metav1.GetOptions{}); err == nil && len(whole.Labels) == 0 {
			err = errors.New("no label")
		}
		return err
	}))
	require.Equal(t, map[string]string{"oom.example.com/victim": "true"}, whole.Labels)
	require.Equal(t, "agent", whole.Annotations["oom.example.com/by"])
	// It has ended by then, if the agent knows of it already; nobody makes it again.
	require.NoError(t, faultkit.Until(t.Context(), "the eviction to be skipped", func() error {
		n := a.metric(t, "oomwitness_marked_victims_total", `stage="skipped"`, `reason="pod_finished"`) +
			a.metric(t, "oomwitness_marked_victims_total", `stage="skipped"`, `reason="unmanaged_pod"`)
		if n != 1 {
			return fmt.Errorf("%v are", n)
		}
		return nil
	}))
	require.EqualValues(t, 2, a.metric(t, "oomwitness_marked_victims_total", `stage="skipped"`, `reason="cause_excluded"`),
		"neither mark nor eviction of the other pod")
	require.EqualValues(t, 1, a.metric(t, "oomwitness_marked_victims_total", `stage="marked"`))
	require.Zero(t, a.metric(t, "oomwitness_marked_victims_total", `stage="evicted"`))
	own, err = pods.Get(t.Context(), own.Name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Empty(t, own.Labels)
	require.NotContains(t, own.Annotations, "oom.example.com/by")
}
