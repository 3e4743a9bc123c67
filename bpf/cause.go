package bpf

import (
	"slices"

	"github.com/oomwitness/oomwitness/oom"
)

// place is where a container is in the cgroup tree, as IDs.
type place struct {
	cgroup uint64
	// above are the IDs of the cgroups above it, nearest first.
	above []uint64
	// pod is true if above[0] is the container's pod.
	pod bool
}

// cause returns whose limit ended a process of the container. A domain that is
// neither the container nor above it is nested in it: the victim was in both.
func (p place) cause(constraint uint32, order int32, domain uint64) oom.Cause {
	if constraint == ConstraintUnknown {
		return oom.CauseUnknown
	}
	if order == OrderSysrq {
		return oom.CauseSysrq
	}
	switch constraint {
	case ConstraintCpuset:
		return oom.CauseCpuset
	case ConstraintMempolicy:
		return oom.CauseMempolicy
	case ConstraintNone:
		if domain == 0 {
			return oom.CauseNode
		}
	case ConstraintMemcg:
		if domain == 0 {
			return oom.CauseUnknown
		}
	default:
		return oom.CauseUnknown
	}
	return p.limit(domain)
}

// limit returns whose limit a domain's is.
func (p place) limit(domain uint64) oom.Cause {
	switch i := slices.Index(p.above, domain); {
	case i < 0:
		return oom.CauseContainer
	case i == 0 && p.pod:
		return oom.CausePod
	default:
		return oom.CauseAncestor
	}
}
