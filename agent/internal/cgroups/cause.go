package cgroups

import (
	"path"
	"slices"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Causes are the answers of Cause, nearest limit first.
var Causes = []oom.Cause{
	oom.CauseContainer, oom.CausePod, oom.CauseAncestor, oom.CauseNode,
	oom.CauseCpuset, oom.CauseMempolicy, oom.CauseSysrq, oom.CauseUnknown,
}

// nameless stands for a cgroup of which no path is known. No path is like it.
const nameless = "?"

// Cause returns whose limit a record's kill is due to, seen from the victim's
// container, or from its cgroup where it is in none. victim and domain are the
// names of the record's two cgroups.
func Cause(r *bpf.Record, victim, domain Name) oom.Cause {
	k := oom.Kill[string]{Constraint: r.Constraint, Order: r.Order}
	if r.Flags&bpf.FlagNoControl != 0 {
		k.Constraint = oom.ConstraintUnknown
	}
	switch {
	case r.Domain == 0: // no cgroup's limit
	case r.Domain == r.Cgroup:
		k.Limit, k.Container = nameless, nameless // one and the same
	case domain.Path == "":
		k.Limit = nameless // it may be nested in the container
	case victim.Path == "":
		seenFromRemoved(&k, victim, domain)
	default:
		container := victim.Place().Path
		k.Limit, k.Container, k.Above = domain.Path, container, above(container)
		k.Inside = Within(domain.Path, container)
		if place := domain.Place(); place.Pod == path.Dir(container) {
			k.Pod = place.Pod
		}
	}
	return oom.Classify(k)
}

// above returns the paths of the cgroups above one, nearest first.
func above(cgroup string) (list []string) {
	for cgroup != "/" && cgroup != "." {
		cgroup = path.Dir(cgroup)
		list = append(list, cgroup)
	}
	return list
}

// seenFromRemoved is for a victim's cgroup that was removed, of which the ledger still
// knows what was above it. The limit's own path shows whose the limit is.
func seenFromRemoved(k *oom.Kill[string], victim, domain Name) {
	k.Limit = domain.Path
	place := domain.Place()
	switch {
	case !slices.Contains(victim.Above, domain.ID): // the victim was moved meanwhile
	case place.Container != "" && place.sure():
		k.Container, k.Inside = place.Path, true
	case place.Pod == domain.Path:
		k.Pod = place.Pod
	default:
		k.Above = []string{domain.Path}
	}
}
