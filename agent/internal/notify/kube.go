// Package notify is what the agent does in Kubernetes: it knows the node's pods by a
// watch, and makes Events, marks and evictions of OOM events by one queue.
package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// workers is how many requests are made at once.
const workers = 4

// Options are the flags.
type Options struct {
	// Node is this node's name in Kubernetes.
	Node string
	// Annotation and Label are key=value, "" for none.
	Annotation, Label string
	// Causes are those of the marks and evictions, with commas between them.
	Causes string
	// Evict has marked causes' pods evicted, one in EvictEvery.
	Evict      bool
	EvictEvery time.Duration
	// DryRun says what would be done.
	DryRun bool
	// MaxTasks bounds the queue, 0 for deliver.MaxTasks.
	MaxTasks int
	Count    deliver.Counter
	Log      logrus.FieldLogger
}

// Common is what all actions are made of.
type Common struct {
	Client rest.Interface // of the core group
	Pods   resolve.Pods
	// Node is this node's name.
	Node    string
	Counter deliver.Counter
	Log     logrus.FieldLogger
	// DryRun has an action log what it would do, and do nothing.
	DryRun bool
}

// Kube is the agent's part in Kubernetes.
type Kube struct {
	// Pods is an resolve.Pods, Queue an events.Tracked. Both may be used before
	// Run.
	Pods  *resolve.PodStore
	Queue *deliver.Queue

	client *deliver.Client
	killed *Killed
}

// New checks the options, and asks nothing of the API server yet.
func New(client *deliver.Client, o Options) (*Kube, error) {
	if o.Node == "" {
		return nil, errors.New("the node's name is not known")
	}
	annotation, err := ParseAnnotation(o.Annotation)
	if err != nil {
		return nil, fmt.Errorf("victim annotation: %w", err)
	}
	label, err := ParseLabel(o.Label)
	if err != nil {
		return nil, fmt.Errorf("victim label: %w", err)
	}
	causes, err := ParseCauses(o.Causes)
	if err != nil {
		return nil, fmt.Errorf("mark causes: %w", err)
	}
	if o.MaxTasks == 0 {
		o.MaxTasks = deliver.MaxTasks
	}
	store := resolve.NewPodStore(o.Node)
	c := Common{Client: client.Core, Pods: store, Node: o.Node, Counter: o.Count, Log: o.Log, DryRun: o.DryRun}
	killed := NewKilled(c)
	actions := []deliver.Action{NewReporter(c), killed}
	if annotation != (Pair{}) || label != (Pair{}) {
		actions = append(actions, NewMarker(c, annotation, label, causes))
	}
	if o.Evict {
		actions = append(actions, NewEvicter(c, causes, o.EvictEvery))
	}
	return &Kube{Pods: store, Queue: deliver.NewQueue(o.Log, o.MaxTasks, actions...), client: client, killed: killed}, nil
}

// TakeExit makes an Event of an exit that was no OOM and no stop: see Killed. It never
// waits.
func (k *Kube) TakeExit(e *exits.Exit) {
	if item, ok := k.killed.plan(e); ok {
		k.Queue.Add(item.Task.ID, []deliver.Item{item})
	}
}

// Run watches the node's pods and works off the queue until ctx ends. Queue.Start
// is called before.
func (k *Kube) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { k.Pods.Watch(ctx, k.client.Watch) })
	all.Go(func() { k.Queue.Run(ctx, workers) })
	all.Wait()
}
