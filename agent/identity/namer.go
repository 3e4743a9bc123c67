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
// what it has answered, and its answer has a bound in time.
type Containers interface {
	Lookup(ctx context.Context, id string) (containers.Info, bool)
}

// Namer puts names to records. Name is for one goroutine; Appeared and Run may
// be called beside it.
type Namer struct {
	cgroups    Cgroups
	containers Containers
	pods       Pods // nil without Kubernetes
	kubelet    *cgroups.Kubelet

	// IDs of containers that containerd has not been asked of: those in pods, and
	// others, which nobody but root or anybody may have made.
	fresh, others chan string
}

// maxFresh and maxOthers are the containers that may start at once; those above are
// asked for when one of their processes was killed.
const (
	maxFresh  = 1024
	maxOthers = 64
)

// NewNamer makes one. pods may be nil, and so may kubelet.
func NewNamer(g Cgroups, c Containers, pods Pods, kubelet *cgroups.Kubelet) *Namer {
	return &Namer{
		cgroups: g, containers: c, pods: pods, kubelet: kubelet,
		fresh: make(chan string, maxFresh), others: make(chan string, maxOthers),
	}
}

// Appeared says that there is a new cgroup: if it is a container's, containerd
// is asked for its names while it lives. It never waits.
func (n *Namer) Appeared(path string) {
	place := n.kubelet.Locate(path)
	if place.Container == "" || place.Path != path {
		return
	}
	to := n.fresh
	if place.PodUID == "" {
		to = n.others
	}
	select {
	case to <- place.Container:
	default: // too many at once
	}
}

// Run asks containerd for the containers that appear, those in pods first, until ctx
// ends.
func (n *Namer) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-n.fresh:
			n.containers.Lookup(ctx, id)
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return
		case id := <-n.fresh:
			n.containers.Lookup(ctx, id)
		case id := <-n.others:
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
	known := false
	if e.Container != nil {
		var info containers.Info
		if info, known = n.containers.Lookup(ctx, e.Container.ID); known {
			e.Named(info)
		}
	}
	if e.Pod == nil && (e.Container == nil || !known) {
		e.Unit = cgroups.Unit(e.Cgroup.Path)
	}
	n.Complete(&e)
	return e, err
}

// Complete adds what the pods' store knows: it may know more a moment later. The
// cgroup says which pod it is, and nothing else does: what other pods' statuses say of
// the container's ID does not count.
func (n *Namer) Complete(e *kill.Event) {
	if n.pods == nil || e.Pod == nil {
		return
	}
	pod, ok := n.pods.ByUID(e.Pod.UID)
	if !ok {
		return
	}
	e.Pod = &kill.Pod{UID: pod.UID, Name: pod.Name, Namespace: pod.Namespace, Static: pod.Static}
	if e.Container == nil {
		return
	}
	if c, ok := pod.Container(e.Container.ID); ok {
		e.Container.Name, e.Container.Kind, e.Container.Image = c.Name, c.Kind, imageOf(c.Image, e.Container.Image)
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
