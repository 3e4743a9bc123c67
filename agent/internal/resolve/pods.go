// Package resolve resolves the victims of the OOM killer to container, pod, image,
// or systemd unit, by what was learned before the kill.
package resolve

import "slices"

// Kinds of a pod's containers. A sidecar is an init container that restarts
// always.
const (
	KindInit      = "init"
	KindSidecar   = "sidecar"
	KindContainer = "container"
	KindEphemeral = "ephemeral"
)

// Pods knows the pods of this node, and those that were removed in the last
// minutes. Its methods may be called concurrently and never wait.
type Pods interface {
	// ByUID finds a pod by the UID in its cgroup's path: the pod's own, or a static
	// pod's on the node, of which the API server has a mirror.
	ByUID(uid string) (Pod, bool)
}

// Pod is one as the API server has it.
type Pod struct {
	// UID is the API object's: a static pod's is its mirror's.
	UID, Namespace, Name string
	// Static says that the pod comes from the node, and this is its mirror.
	Static bool
	// Containers are those of the spec, also before they have an ID.
	Containers []Container
	// Managed says that a controller would make it again, DaemonSet that this is a
	// DaemonSet.
	Managed, DaemonSet bool
	// Critical says that its priority class is one of the system's.
	Critical bool
	// Finished says that it is being deleted, has ended, or is gone.
	Finished bool
}

// Container returns the pod's container by its ID, without the runtime's prefix, of
// the current or an earlier state.
func (p Pod) Container(id string) (Container, bool) {
	for _, c := range p.Containers {
		if slices.Contains(c.IDs, id) {
			return c, true
		}
	}
	return Container{}, false
}

// Container is one of a pod's.
type Container struct {
	Name, Image string
	// Kind is one of the Kinds.
	Kind string
	// IDs are those of the current and the last state, without the runtime's
	// prefix.
	IDs []string
}
