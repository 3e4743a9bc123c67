package agent

import (
	"context"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
	"github.com/oomwitness/oomwitness/bpf"
)

// NamesOptions say where names come from.
type NamesOptions struct {
	// Mount is where the hierarchy that memory is on is mounted, "" for nowhere.
	Mount string
	// Parent returns the ID of the cgroup above another, from the ledger; may be nil.
	Parent func(id uint64) (uint64, bool)
	// Kubelet says which cgroups are pods'.
	Kubelet KubeletOptions
	// Containerd is its socket, "" to do without.
	Containerd string
}

// Names names the victims of records, for a command that is no agent. It is not for
// concurrent use.
type Names struct {
	tree       cgroups.Tree
	containerd *resolve.Containerd
}

// NewNames returns Names that know no cgroup yet: see Refresh. warn receives why a source
// of kubelet's cgroup root was not believed.
func NewNames(o NamesOptions, warn func(error)) (*Names, error) {
	kubelet, err := cgroups.NewKubelet(o.Kubelet.learn(o.Mount, warn).Paths)
	if err != nil {
		return nil, err
	}
	return &Names{
		tree:       cgroups.Tree{Mount: o.Mount, Parent: o.Parent, Kubelet: kubelet},
		containerd: resolve.NewContainerd(o.Containerd),
	}, nil
}

// Close ends the connection to containerd.
func (n *Names) Close() error { return n.containerd.Close() }

// Refresh walks the cgroups, so that they have a name when they are removed.
func (n *Names) Refresh() error { return n.tree.Refresh() }

// Event returns the OOM event of a record, as far as its one victim and the paths of
// cgroups show. warn receives what could not be found out.
func (n *Names) Event(r *bpf.Record, warn func(error)) OOMEvent {
	name := func(id uint64) cgroups.Name {
		name, err := n.tree.Name(id, r.Time())
		if err != nil {
			warn(err)
		}
		return name
	}
	return events.New(r, name(r.Cgroup), name(r.Domain))
}

// Ask adds what containerd knows of a victim's container.
func (n *Names) Ask(ctx context.Context, v *Victim) {
	if v.Container == nil || n.containerd == nil {
		return
	}
	if info, ok := n.containerd.Lookup(ctx, v.Container.ID); ok {
		info.Apply(v)
	}
}

// Unit is the systemd unit that a cgroup's path is in, "" for none.
func Unit(path string) string { return cgroups.Unit(path) }
