// Package kube puts together what the agent does with Kubernetes, as the command's
// flags ask for it: pods known by a watch, Events, marks and evictions by one queue.
package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/oomwitness/oomwitness/agent/deliver"
	"github.com/oomwitness/oomwitness/agent/evict"
	"github.com/oomwitness/oomwitness/agent/kubeapi"
	"github.com/oomwitness/oomwitness/agent/mark"
	"github.com/oomwitness/oomwitness/agent/outcome"
	"github.com/oomwitness/oomwitness/agent/pods"
	"github.com/oomwitness/oomwitness/agent/report"
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
	Count    outcome.Counter
	Log      logrus.FieldLogger
}

// Kube is the agent's part in Kubernetes.
type Kube struct {
	// Pods is an resolve.Pods, Queue an events.Tracked. Both may be used before
	// Run.
	Pods  *pods.Store
	Queue *deliver.Queue

	client *kubeapi.Client
}

// New checks the options, and asks nothing of the API server yet.
func New(client *kubeapi.Client, o Options) (*Kube, error) {
	if o.Node == "" {
		return nil, errors.New("the node's name is not known")
	}
	annotation, err := mark.ParseAnnotation(o.Annotation)
	if err != nil {
		return nil, fmt.Errorf("victim annotation: %w", err)
	}
	label, err := mark.ParseLabel(o.Label)
	if err != nil {
		return nil, fmt.Errorf("victim label: %w", err)
	}
	causes, err := mark.ParseCauses(o.Causes)
	if err != nil {
		return nil, fmt.Errorf("mark causes: %w", err)
	}
	if o.MaxTasks == 0 {
		o.MaxTasks = deliver.MaxTasks
	}
	store := pods.NewStore(o.Node)
	actions := []deliver.Action{report.New(report.Options{
		Client: client.Core, Pods: store, Node: o.Node, Count: o.Count, Log: o.Log, DryRun: o.DryRun,
	})}
	if annotation != (mark.Pair{}) || label != (mark.Pair{}) {
		actions = append(actions, mark.New(mark.Options{
			Client: client.Core, Pods: store, Annotation: annotation, Label: label,
			Causes: causes, Count: o.Count, Log: o.Log, DryRun: o.DryRun,
		}))
	}
	if o.Evict {
		actions = append(actions, evict.New(evict.Options{
			Client: client.Core, Pods: store, Causes: causes, Every: o.EvictEvery, Count: o.Count, Log: o.Log, DryRun: o.DryRun,
		}))
	}
	return &Kube{Pods: store, Queue: deliver.New(o.Log, o.MaxTasks, actions...), client: client}, nil
}

// Run watches the node's pods and works off the queue until ctx ends. Queue.Start
// is called before.
func (k *Kube) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { k.Pods.Watch(ctx, k.client.Watch) })
	all.Go(func() { k.Queue.Run(ctx, workers) })
	all.Wait()
}
