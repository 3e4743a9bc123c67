package identity

import (
	"context"
	"time"

	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/containers"
	"github.com/oomwitness/oomwitness/agent/kill"
	"github.com/oomwitness/oomwitness/bpf"
)

// Cgroups names cgroups by their ID: a cgroups.Watcher.
type Cgroups interface {
	Name(id uint64, at time.Time) (cgroups.Name, error)
}

// Containers names containers by their ID: a containers.Client. It remembers
// what it has told, and its answer has a bound in time.
type Containers interface {
	Lookup(ctx context.Context, id string) (containers.Info, bool)
}

// Namer puts names to records. Name is for one goroutine; Appeared and Run may
// be called beside it.
type Namer struct {
	cgroups    Cgroups
	containers Containers
	pods       Pods // nil without Kubernetes

	fresh chan string // IDs of containers that containerd has not been asked of
}

// maxFresh are the containers that may start at once; those above are asked for
// when one of their processes was killed.
const maxFresh = 1024

// NewNamer makes one. pods may be nil.
func NewNamer(g Cgroups, c Containers, pods Pods) *Namer {
	return &Namer{cgroups: g, containers: c, pods: pods, fresh: make(chan string, maxFresh)}
}

// Appeared says that there is a new cgroup: if it is a container's, containerd
// is asked for its names while it lives. It never waits.
func (n *Namer) Appeared(path string) {
	place := cgroups.Locate(path)
	if place.Container == "" || place.Path != path {
		return
	}
	select {
	case n.fresh <- place.Container:
	default: // more than maxFresh
	}
}

// Run asks containerd for the containers that appear, until ctx ends.
func (n *Namer) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-n.fresh:
			n.containers.Lookup(ctx, id)
		}
	}
}

// Name gives a record's victim its names, and the name of the cgroup whose limit
// fired. What could not be asked is an error, and the rest is right all the same.
func (n *Namer) Name(ctx context.Context, r *bpf.Record) (kill.Event, error) {
	victim, err := n.cgroups.Name(r.Cgroup, r.Time())
	domain := victim
	if r.Domain != r.Cgroup {
		var err2 error
		if domain, err2 = n.cgroups.Name(r.Domain, r.Time()); err == nil {
			err = err2
		}
	}
	e := kill.NewEvent(r, victim, domain)
	if e.Container == nil && e.Pod == nil {
		e.Unit = cgroups.Unit(e.Cgroup.Path)
	}
	if e.Container != nil {
		if info, ok := n.containers.Lookup(ctx, e.Container.ID); ok {
			e.Named(info)
		}
	}
	n.Complete(&e)
	return e, err
}

// Complete adds what the pods' store knows: it may know more a moment later.
func (n *Namer) Complete(e *kill.Event) {
	if n.pods == nil {
		return
	}
	if e.Container != nil {
		if pod, container, ok := n.pods.ByContainer(e.Container.ID); ok {
			e.Container.Name, e.Container.Kind = container.Name, container.Kind
			e.Container.Image = imageOf(container.Image, e.Container.Image)
			setPod(e, pod)
			return
		}
	}
	if e.Pod == nil {
		return
	}
	pod, ok := n.pods.ByUID(e.Pod.UID)
	if !ok {
		return
	}
	setPod(e, pod)
	if e.Container == nil {
		return
	}
	// The API server may not know the ID yet, and containerd the name already.
	for _, c := range pod.Containers {
		if c.Name == e.Container.Name && c.Name != "" {
			e.Container.Kind, e.Container.Image = c.Kind, imageOf(c.Image, e.Container.Image)
		}
	}
}

// imageOf prefers the name that the pod's owner has given.
func imageOf(spec, runtime string) string {
	if spec != "" {
		return spec
	}
	return runtime
}

func setPod(e *kill.Event, pod Pod) {
	e.Pod = &kill.Pod{UID: pod.UID, Name: pod.Name, Namespace: pod.Namespace, Static: pod.Static}
}
