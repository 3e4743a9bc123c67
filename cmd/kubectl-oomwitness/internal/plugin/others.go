package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/why"
)

// othersTimeout limits the questions to the agents of other nodes, if --previous does not ask
// for earlier runs: then allTimeout does.
const othersTimeout = 5 * time.Second

// comesAgain reports whether an earlier pod of the same name may have run on another node. The
// API server makes a new name for each pod with generateName, such as that of a Deployment, a
// DaemonSet or a Job. The name of a static pod has the name of its node.
func comesAgain(pod *corev1.Pod) bool {
	_, static := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return pod.GenerateName == "" && !static
}

// earlierPods returns the document with the runs of earlier pods of the same name on other
// nodes, such as those of a StatefulSet's pod that was scheduled again. Notes has what may be
// missing.
func (c *whyCommand) earlierPods(ctx context.Context, d *why.Document, pod *corev1.Pod) (all *why.Document, notes []string) {
	agents, err := c.agents(ctx, "")
	if err != nil {
		return d, []string{"the agents of other nodes were not asked for earlier runs: " + err.Error()}
	}
	agents = slices.DeleteFunc(agents, func(a corev1.Pod) bool { return a.Spec.NodeName == pod.Spec.NodeName || a.Spec.NodeName == "" })
	timeout := othersTimeout
	if c.previous {
		timeout = allTimeout
	}
	found, silent := c.documents(ctx, agents, timeout)
	if silent != "" {
		notes = append(notes, "earlier runs on other nodes may be missing here: "+silent)
	}
	if len(found) == 0 {
		return d, notes
	}
	return why.Merge(append([]*why.Document{d}, found...)), notes
}

// documents asks agents for the pod. It returns the answers that have runs, and which agents
// did not answer, "" if all did.
func (c *whyCommand) documents(ctx context.Context, agents []corev1.Pod, timeout time.Duration) (found []*why.Document, silent string) {
	answers := askAll[why.Document](ctx, c.options, agents, why.PathWhy, c.query(), timeout)
	for i := range answers {
		if a := &answers[i]; a.err == nil && len(a.value.Runs) > 0 {
			found = append(found, &a.value)
		}
	}
	return found, silence(answers)
}

// maxSilent are the agents that silence names.
const maxSilent = 3

// silence says which agents did not answer and why, "" if all did.
func silence[T any](answers []answer[T]) string {
	var said []string
	for _, a := range answers {
		if a.err != nil {
			said = append(said, nodeOf(a.agent)+": "+a.err.Error())
		}
	}
	if len(said) == 0 {
		return ""
	}
	more := ""
	if len(said) > maxSilent {
		more = fmt.Sprintf("; and %d more", len(said)-maxSilent)
	}
	return fmt.Sprintf("%d of %d agents did not answer: %s%s", len(said), len(answers), strings.Join(said[:min(len(said), maxSilent)], "; "), more)
}
