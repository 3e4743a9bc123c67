package oom

import "slices"

// Constraint is what an OOM event was bound by, as the kernel has it (enum
// oom_constraint of include/linux/oom.h).
type Constraint = uint32

// The constraints.
const (
	ConstraintNone      Constraint = 0 // nothing but the node's memory
	ConstraintCpuset    Constraint = 1
	ConstraintMempolicy Constraint = 2
	ConstraintMemcg     Constraint = 3 // a cgroup's limit
	// ConstraintUnknown stands where the kernel's oom_control was not seen.
	ConstraintUnknown Constraint = 1<<32 - 1
)

// OrderSysrq is oom_control.order for an operator's sysrq f.
const OrderSysrq = -1

// Kill is what decides whose limit a kill is due to. C names a cgroup: by its ID, or by
// its path. The zero value names none.
type Kill[C comparable] struct {
	Constraint Constraint
	Order      int32 // of the allocation, or OrderSysrq
	// Limit is the cgroup whose limit fired.
	Limit C
	// Victim is the victim's own cgroup and those above it, nearest first, as far as they
	// are known.
	Victim []C
	// Container is the victim's container, and Above are the cgroups above that, nearest
	// first. Where the victim is in no container, its own cgroup takes that place.
	Container C
	Above     []C
	// Inside is true if the victim was in the container's cgroup, or in one nested in it,
	// whatever Victim says of the cgroups between.
	Inside bool
	// Pod is the cgroup of the container's pod.
	Pod C
}

// Classify returns whose limit a kill is due to, seen from the container. It is the one
// place where that is decided: for the verdict, for the agent and for trace.
//
// The victim was in the cgroup whose limit fired. So that cgroup is the container, is
// above it, or is nested in it, if the victim was in the container. A victim that was
// moved out may have died of a limit that has nothing to do with the container: then the
// cause is unknown.
func Classify[C comparable](k Kill[C]) Cause {
	var none C
	switch {
	case k.Constraint == ConstraintUnknown:
		return CauseUnknown
	case k.Order == OrderSysrq:
		return CauseSysrq
	case k.Constraint == ConstraintCpuset:
		return CauseCpuset
	case k.Constraint == ConstraintMempolicy:
		return CauseMempolicy
	case k.Constraint == ConstraintNone && k.Limit == none:
		return CauseNode
	case k.Limit == none || k.Constraint > ConstraintMemcg:
		return CauseUnknown
	default:
		return k.limit()
	}
}

// limit returns whose limit that of the cgroup is.
func (k Kill[C]) limit() Cause {
	var none C
	limit, container := slices.Index(k.Victim, k.Limit), slices.Index(k.Victim, k.Container)
	switch {
	case k.Limit == k.Container:
		return CauseContainer
	case k.Pod != none && k.Limit == k.Pod:
		return CausePod
	case slices.Contains(k.Above, k.Limit):
		return CauseAncestor // the root of a cgroup namespace is one
	case k.Container != none && container >= 0 && limit > container:
		return CauseAncestor // above the root of the cgroup namespace
	case k.Container != none && container >= 0 && limit >= 0, k.Inside:
		return CauseContainer // nested in it
	default:
		return CauseUnknown
	}
}
