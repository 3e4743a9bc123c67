package resolve

import (
	"context"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

// Cgroups names cgroups by their ID: a cgroups.Watcher.
type Cgroups interface {
	Name(id uint64, at time.Time) (cgroups.Name, error)
}

// Containers names containers by their ID: a Containerd. It remembers
// what it has answered, and its answer has a bound in time.
type Containers interface {
	Lookup(ctx context.Context, id string) (ContainerInfo, bool)
}

// Resolver resolves the cgroups of records to containers and pods. Its methods may be
// called concurrently.
type Resolver struct {
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

// New returns a Resolver. pods is nil without Kubernetes; a nil kubelet stands for
// kubelet's default cgroup root.
func New(g Cgroups, c Containers, pods Pods, kubelet *cgroups.Kubelet) *Resolver {
	return &Resolver{
		cgroups: g, containers: c, pods: pods, kubelet: kubelet,
		fresh: make(chan string, maxFresh), others: make(chan string, maxOthers),
	}
}

// Appeared receives the path of a new cgroup. For a container's cgroup Run asks
// containerd for the names while the container lives. Appeared never waits.
func (r *Resolver) Appeared(path string) {
	place := r.kubelet.Locate(path)
	if place.Container == "" || place.Path != path {
		return
	}
	to := r.fresh
	if place.PodUID == "" {
		to = r.others
	}
	select {
	case to <- place.Container:
	default: // too many at once
	}
}

// Run asks containerd for the containers that appear, those in pods first, until ctx
// ends.
func (r *Resolver) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-r.fresh:
			r.containers.Lookup(ctx, id)
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return
		case id := <-r.fresh:
			r.containers.Lookup(ctx, id)
		case id := <-r.others:
			r.containers.Lookup(ctx, id)
		}
	}
}

// Resolve returns the OOM event of a record with the names of its one victim and of the
// cgroup whose limit fired. A cgroup that could not be found out is an error; all else of
// the OOM event is valid then too.
func (r *Resolver) Resolve(ctx context.Context, record *bpf.Record) (events.OOMEvent, error) {
	victim, err := r.cgroups.Name(record.Cgroup, record.Time())
	domain := victim
	if record.Domain != record.Cgroup {
		var err2 error
		if domain, err2 = r.cgroups.Name(record.Domain, record.Time()); err == nil {
			err = err2
		}
	}
	in := events.New(record, victim, domain)
	v, known := in.First(), false
	if v.Container != nil {
		var info ContainerInfo
		if info, known = r.containers.Lookup(ctx, v.Container.ID); known {
			info.Apply(v)
		}
	}
	if v.Pod == nil && (v.Container == nil || !known) {
		v.Unit = cgroups.Unit(v.Cgroup.Path)
	}
	r.Complete(v)
	return in, err
}

// Complete adds what the pods' store knows: it may know more a moment later. The
// cgroup says which pod it is, and nothing else does: what other pods' statuses say of
// the container's ID does not count.
func (r *Resolver) Complete(v *events.Victim) {
	if r.pods == nil || v.Pod == nil {
		return
	}
	pod, ok := r.pods.ByUID(v.Pod.UID)
	if !ok {
		return
	}
	v.Pod = &events.Pod{UID: pod.UID, Name: pod.Name, Namespace: pod.Namespace, Static: pod.Static}
	if v.Container == nil {
		return
	}
	if c, ok := pod.Container(v.Container.ID); ok {
		v.Container.Name, v.Container.Kind, v.Container.Image = c.Name, c.Kind, imageOf(c.Image, v.Container.Image)
		return
	}
	// The API server may not know the ID yet, and containerd the name already.
	for _, c := range pod.Containers {
		if c.Name == v.Container.Name && c.Name != "" {
			v.Container.Kind, v.Container.Image = c.Kind, imageOf(c.Image, v.Container.Image)
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
