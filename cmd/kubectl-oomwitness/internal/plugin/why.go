package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli"
)

// whyCommand is "kubectl oomwitness why".
type whyCommand struct {
	*options
	pod, container string // container is "" for all
	previous       bool
}

func newWhy(o *options) *cobra.Command {
	c := &whyCommand{options: o}
	cmd := &cobra.Command{
		Use:   "why [NAMESPACE/]POD [-c CONTAINER] [--previous]",
		Short: "Say why the containers of a pod have died",
		Long: `For each container of a pod, show what ended the newest run: by whose limit, or by whose
signal. The page has the victim of the OOM killer with its sizes, the contents of the memory,
the largest processes, limit, request and peak. The page also has the number of OOM kills in
the last day, and what to do. Each unknown fact is named, with the reason.

The argument is POD, pod/POD, NAMESPACE/POD or NAMESPACE/POD/CONTAINER. pod/POD is always the
pod POD, as for kubectl: for a namespace of the name pod, use -n pod POD.

why asks the agent on the pod's node. An earlier pod may have had the same name, such as a pod
of a StatefulSet. Then why also asks the other agents, for 5 seconds at most. With --previous,
and for a deleted pod, why asks for two minutes at most. An agent keeps the last ends of its
node.

Exit status:

  0  no container on the page was OOM-killed
  1  a failure
  2  a wrong command line
  3  no such pod, container or run
  4  no agent answered, and the pod's status does not say OOMKilled
  5  a container on the page was OOM-killed`,
		Example: `  kubectl oomwitness why web-7d4b9c-x2x8v
  kubectl oomwitness why shop/web-7d4b9c-x2x8v
  kubectl oomwitness why web-7d4b9c-x2x8v -c app --previous
  kubectl oomwitness why web-7d4b9c-x2x8v -o json | jq '.runs[0].verdict'`,
		Args: onePod,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := why.Usage(c.names(args[0])); err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
		ValidArgsFunction: c.completePods,
	}
	cmd.Flags().StringVarP(&c.container, "container", "c", "", "only this container")
	cmd.Flags().BoolVar(&c.previous, "previous", false, "the run before the newest of each container")
	cli.CompleteBy(cmd, "container", c.completeContainers)
	o.addOutput(cmd, false)
	return cmd
}

// onePod wants one argument: names checks what it names.
func onePod(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments: allowed is one, the name of a pod", len(args))
	}
	return nil
}

// podName reads an argument that names a pod, and checks its names.
func podName(argument string) (cli.PodName, error) {
	name, err := cli.ParsePodName(argument)
	wrong := len(validation.IsDNS1123Subdomain(name.Pod)) > 0 || name.Namespace != "" && len(validation.IsDNS1123Label(name.Namespace)) > 0 ||
		name.Container != "" && len(validation.IsDNS1123Label(name.Container)) > 0
	if err == nil && !wrong {
		return name, nil
	}
	said := fmt.Sprintf("pod %q: allowed are lower-case letters, digits, - and ., at most 253, as %s", argument, cli.PodForms)
	if err != nil {
		said += "; " + err.Error()
	}
	return cli.PodName{}, errors.New(said)
}

// names sets what the argument and the flags name.
func (c *whyCommand) names(argument string) error {
	name, err := podName(argument)
	if err != nil {
		return err
	}
	if c.container != "" && len(validation.IsDNS1123Label(c.container)) > 0 {
		return fmt.Errorf("--container %q: allowed are lower-case letters, digits and -, at most 63", c.container)
	}
	if name, err = name.Flags(argument, *c.config.Namespace, c.container); err != nil {
		return err
	}
	c.pod, c.container, *c.config.Namespace = name.Pod, name.Container, name.Namespace
	return nil
}

func (c *whyCommand) run(ctx context.Context) error {
	if err := c.complete(); err != nil {
		return err
	}
	return c.answer(ctx)
}

// answer asks for the pod, and shows what is known.
func (c *whyCommand) answer(ctx context.Context) error {
	pod, err := c.client.CoreV1().Pods(c.namespace).Get(ctx, c.pod, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return c.deleted(ctx)
	case err != nil:
		return fmt.Errorf("read the pod: %w", err)
	}
	if err := c.hasContainer(pod); err != nil {
		return err
	}
	d, answered := c.document(ctx, pod)
	if err := c.show(ctx, d); err != nil {
		return err
	}
	if !answered {
		return &why.Exit{Status: why.StatusNoAgent}
	}
	return nil
}

// document returns what the agents know of a pod, with the pod's status. answered is false if
// the agent on the pod's node has not answered.
func (c *whyCommand) document(ctx context.Context, pod *corev1.Pod) (d *why.Document, answered bool) {
	d, err := c.settled(ctx, pod)
	if err != nil {
		d = &why.Document{Schema: why.Schema, Time: time.Now().UTC().Truncate(time.Second), Node: pod.Spec.NodeName, Source: why.SourceKubernetes}
	}
	var notes []string
	if comesAgain(pod) {
		d, notes = c.earlierPods(ctx, d, pod)
	}
	c.addStatus(d, pod)
	if err != nil {
		d.Notes = append(d.Notes, c.noAgent(ctx, pod.Spec.NodeName, err)...)
		c.addEvents(ctx, d, pod)
	}
	d.Notes = append(d.Notes, notes...)
	return d, err == nil
}

// errNoNode reports that a pod was not scheduled.
var errNoNode = errors.New("the pod is on no node yet")

// noAgent says why the page lacks what the agent on a pod's node knows.
func (c *whyCommand) noAgent(ctx context.Context, node string, err error) []string {
	if errors.Is(err, errNoNode) {
		return []string{"no agent was asked for this pod: " + err.Error()}
	}
	notes := []string{fmt.Sprintf("the agent on node %s was not asked or did not answer: %v. "+
		"Of this node the page has the status of the pod and its Events alone.", node, err)}
	if note := c.nodeNote(ctx, node); note != "" {
		notes = append(notes, note)
	}
	return notes
}

// The agent reads the exits of its node each second: a run that has just ended is asked
// for again.
const (
	justEnded = 10 * time.Second
	askAgain  = time.Second
	mostAsks  = 4
)

// settled asks the agent on the node of a pod, until the agent knows the runs that have just
// ended.
func (c *whyCommand) settled(ctx context.Context, pod *corev1.Pod) (d *why.Document, err error) {
	for range mostAsks {
		if d, err = c.fromAgent(ctx, pod.Spec.NodeName); err != nil || !c.lacksNewest(d, pod) {
			return d, err
		}
		select {
		case <-ctx.Done():
			return d, nil
		case <-time.After(askAgain):
		}
	}
	return d, nil
}

// lacksNewest reports whether a run has just ended, by the pod's status, that the document
// does not have.
func (c *whyCommand) lacksNewest(d *why.Document, pod *corev1.Pod) bool {
	return slices.ContainsFunc(c.statuses(pod), func(s corev1.ContainerStatus) bool {
		for _, ended := range []*corev1.ContainerStateTerminated{s.LastTerminationState.Terminated, s.State.Terminated} {
			if ended != nil && time.Since(ended.FinishedAt.Time) < justEnded && !knows(d, idOf(ended.ContainerID)) {
				return true
			}
		}
		return false
	})
}

// fromAgent asks the agent on a node.
func (c *whyCommand) fromAgent(ctx context.Context, node string) (*why.Document, error) {
	if node == "" {
		return nil, errNoNode
	}
	agent, err := c.agentOn(ctx, node)
	if err != nil {
		return nil, err
	}
	body, err := c.ask(ctx, agent, why.PathWhy, c.query())
	if err != nil {
		return nil, err
	}
	return why.Decode(body)
}

func (c *whyCommand) query() map[string]string {
	q := map[string]string{"namespace": c.namespace, "pod": c.pod}
	if c.container != "" {
		q["container"] = c.container
	}
	return q
}

// hasContainer returns an error if the pod has no container of the name that is asked for.
func (c *whyCommand) hasContainer(pod *corev1.Pod) error {
	names := containerNames(pod)
	if c.container == "" || slices.Contains(names, c.container) {
		return nil
	}
	return why.NotFound("container %q is not in pod %s: there are %s", c.container, pod.Name, strings.Join(names, ", "))
}

func containerNames(pod *corev1.Pod) (names []string) {
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		names = append(names, container.Name)
	}
	for _, container := range pod.Spec.EphemeralContainers {
		names = append(names, container.Name)
	}
	return names
}

// show writes a document. Its error has the exit status.
func (c *whyCommand) show(ctx context.Context, d *why.Document) error {
	if err := interrupted(ctx); err != nil {
		return err
	}
	for i := range d.Runs {
		d.Runs[i].Advise()
	}
	switch {
	case len(d.Runs) == 0 && d.Source == why.SourceAgent:
		return why.NotFound("no container of pod %q has ended, as far as the status of the pod and the agent on node %s know", c.pod, d.Node)
	case c.previous && !d.HasPrevious() && d.Source == why.SourceAgent:
		return why.NotFound("no container of pod %q has a run before its newest, as far as the status of the pod and the agent on node %s know", c.pod, d.Node)
	}
	if err := c.write(d, func() error {
		return d.Write(c.Out, why.Options{Columns: cli.Columns(c.Out), Previous: c.previous, Wide: c.output == "wide"})
	}); err != nil {
		return err
	}
	if d.OOMKilled(c.previous) {
		return &why.Exit{Status: why.StatusOOM}
	}
	return nil
}
