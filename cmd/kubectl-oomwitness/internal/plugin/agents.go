package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/oomwitness/oomwitness/why"
)

const (
	// portName is the name of the container port of the agent's API. defaultPort is used if no
	// port has that name.
	portName    = "metrics"
	defaultPort = 8080
	// askTimeout limits the question to one agent, allTimeout the questions to all agents
	// together.
	// atOnce is the number of agents that are asked at the same time.
	askTimeout = 10 * time.Second
	allTimeout = 2 * time.Minute
	atOnce     = 16
)

// agents returns the agents' pods, on one node or on all.
func (o *options) agents(ctx context.Context, node string) ([]corev1.Pod, error) {
	list := metav1.ListOptions{LabelSelector: o.agentSelector}
	if node != "" {
		list.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
	}
	pods, err := o.client.CoreV1().Pods(o.agentNamespace).List(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("list the agents' pods: %w", err)
	}
	return pods.Items, nil
}

// errNoAgent reports that no agent runs on a node.
var errNoAgent = errors.New("no agent runs there")

// agentOn returns the agent's pod on a node.
func (o *options) agentOn(ctx context.Context, node string) (*corev1.Pod, error) {
	pods, err := o.agents(ctx, node)
	if err != nil {
		return nil, err
	}
	for i := range pods {
		if pods[i].Status.Phase == corev1.PodRunning && pods[i].DeletionTimestamp == nil {
			return &pods[i], nil
		}
	}
	return nil, errNoAgent
}

// ask asks an agent through the API server, and returns the body of its answer.
func (o *options) ask(ctx context.Context, agent *corev1.Pod, path string, query map[string]string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, err := o.client.CoreV1().Pods(agent.Namespace).ProxyGet("http", agent.Name, portOf(agent), path, query).Stream(ctx)
	if err != nil {
		return nil, proxyError(err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, why.MaxAnswer+1))
	if err == nil && len(text) > why.MaxAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", why.MaxAnswer)
	}
	return text, err
}

// proxyError returns an error in plain words for an error of the API server's proxy.
func proxyError(err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not ask the agent: the right get on pods/proxy is missing (%w)", err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("the agent serves no API, or is older than this plugin (%w)", err)
	default:
		return fmt.Errorf("the agent does not answer: %w", err)
	}
}

// portOf returns the port of an agent's API.
func portOf(agent *corev1.Pod) string {
	for _, c := range agent.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == portName {
				return strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	return strconv.Itoa(defaultPort)
}

// answer is the answer of one agent.
type answer[T any] struct {
	agent *corev1.Pod
	value T
	err   error
}

// errLate reports that the time for all agents was over before one of them answered, or was
// asked.
var errLate = errors.New("no answer in the time for all agents")

// interrupted returns an error if Ctrl-C has ended the questions: an agent that was not asked is
// not silent.
func interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// waiting returns an error for an agent whose pod does not run yet, or not any more.
func waiting(agent *corev1.Pod) error {
	switch phase := agent.Status.Phase; phase {
	case corev1.PodPending, corev1.PodFailed, corev1.PodSucceeded:
		return fmt.Errorf("the agent's pod %s does not run: its phase is %s", agent.Name, phase)
	}
	return nil
}

// nodeOf names the node of an agent.
func nodeOf(agent *corev1.Pod) string { return cmp.Or(agent.Spec.NodeName, "(none yet)") }

// askAll asks all agents, atOnce at the same time, and decodes their answers. timeout limits
// the questions together.
func askAll[T any](ctx context.Context, o *options, agents []corev1.Pod, path string, query map[string]string, timeout time.Duration) []answer[T] {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answers := make([]answer[T], len(agents))
	room := make(chan struct{}, atOnce)
	var asking sync.WaitGroup
	for i := range agents {
		asking.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			a := answer[T]{agent: &agents[i]}
			var body []byte
			if a.err = waiting(a.agent); a.err != nil {
				answers[i] = a
				return
			}
			switch body, a.err = o.ask(ctx, a.agent, path, query); {
			case a.err == nil:
				a.err = decode(body, &a.value)
			case errors.Is(ctx.Err(), context.DeadlineExceeded):
				a.err = fmt.Errorf("%w, %v", errLate, timeout)
			}
			answers[i] = a
		})
	}
	asking.Wait()
	return answers
}

// decode decodes an answer, and refuses an unknown schema.
func decode(body []byte, into any) error {
	var version struct{ Schema int }
	if err := json.Unmarshal(body, &version); err != nil {
		return errors.New("the answer is not the JSON of an agent")
	}
	if version.Schema != why.Schema {
		return fmt.Errorf("the answer has schema %d: allowed is %d", version.Schema, why.Schema)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer is not the JSON of an agent: %w", err)
	}
	return nil
}
