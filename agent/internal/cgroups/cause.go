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

// Cause says whose limit a record's kill is due to, seen from the victim's
// container, or from its cgroup where it is in none. victim and domain are the
// names of the record's two cgroups.
func Cause(r *bpf.Record, victim, domain Name) oom.Cause {
	switch {
	case r.Flags&bpf.FlagNoControl != 0, r.Constraint == bpf.ConstraintUnknown:
		return oom.CauseUnknown
	case r.Order == bpf.OrderSysrq:
		return oom.CauseSysrq
	case r.Constraint == bpf.ConstraintCpuset:
		return oom.CauseCpuset
	case r.Constraint == bpf.ConstraintMempolicy:
		return oom.CauseMempolicy
	case r.Domain == 0 && r.Constraint == bpf.ConstraintNone:
		return oom.CauseNode
	case r.Domain == 0 || r.Constraint > bpf.ConstraintMemcg:
		return oom.CauseUnknown
	case r.Domain == r.Cgroup:
		return oom.CauseContainer
	}
	return limitOf(victim, domain)
}

// limitOf says whose a limit above the victim's own cgroup is.
func limitOf(victim, domain Name) oom.Cause {
	if domain.Path == "" || victim.Path == "" {
		return limitByIDs(victim, domain)
	}
	switch container := victim.Place().Path; {
	case Within(domain.Path, container):
		return oom.CauseContainer
	case !Within(container, domain.Path):
		return oom.CauseUnknown // the victim was moved meanwhile
	case domain.Path == path.Dir(container) && domain.Place().Pod == domain.Path:
		return oom.CausePod
	default:
		return oom.CauseAncestor
	}
}

// limitByIDs is for cgroups that were removed, of which the ledger still knows
// which was above which. A pod is known by its own path alone.
func limitByIDs(victim, domain Name) oom.Cause {
	if !slices.Contains(victim.Above, domain.ID) {
		return oom.CauseUnknown
	}
	switch place := domain.Place(); {
	case domain.Path == "":
		return oom.CauseUnknown // it may be nested in the container
	case place.Container != "" && place.sure():
		return oom.CauseContainer
	case place.Pod != "" && place.Pod == domain.Path:
		return oom.CausePod
	default:
		return oom.CauseAncestor
	}
}
