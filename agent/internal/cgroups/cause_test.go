package cgroups_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

func TestCause(t *testing.T) {
	const (
		pod       = "/kubepods/burstable/pod" + uid
		container = pod + "/" + id
		memcg     = bpf.ConstraintMemcg
	)
	type names struct{ victim, domain cgroups.Name }
	named := func(victim, domain string) names {
		return names{cgroups.Name{ID: 1, Path: victim}, cgroups.Name{ID: 2, Path: domain}}
	}
	// gone is a victim's cgroup that was removed, right below the pod's.
	gone := func(domain cgroups.Name) names {
		return names{cgroups.Name{ID: 1, Above: []uint64{2, 3, 4}, Nearest: pod}, domain}
	}
	for name, test := range map[string]struct {
		record bpf.Record
		names  names
		want   oom.Cause
	}{
		"own limit":               {bpf.Record{Constraint: memcg, Domain: 1}, named(container, container), oom.CauseContainer},
		"own limit, removed":      {bpf.Record{Constraint: memcg, Domain: 1}, names{}, oom.CauseContainer},
		"limit nested in it":      {bpf.Record{Constraint: memcg, Domain: 2}, named(container+"/a/b", container+"/a"), oom.CauseContainer},
		"container from nested":   {bpf.Record{Constraint: memcg, Domain: 2}, named(container+"/a", container), oom.CauseContainer},
		"pod":                     {bpf.Record{Constraint: memcg, Domain: 2}, named(container, pod), oom.CausePod},
		"pod from nested":         {bpf.Record{Constraint: memcg, Domain: 2}, named(container+"/a", pod), oom.CausePod},
		"above the pod":           {bpf.Record{Constraint: memcg, Domain: 2}, named(container, "/kubepods/burstable"), oom.CauseAncestor},
		"kubepods":                {bpf.Record{Constraint: memcg, Domain: 2}, named(container, "/kubepods"), oom.CauseAncestor},
		"the root":                {bpf.Record{Constraint: memcg, Domain: 2}, named(container, "/"), oom.CauseAncestor},
		"a parent that is no pod": {bpf.Record{Constraint: memcg, Domain: 2}, named("/default/web", "/default"), oom.CauseAncestor},
		"a service's slice":       {bpf.Record{Constraint: memcg, Domain: 2}, named("/system.slice/x.service", "/system.slice"), oom.CauseAncestor},
		"not above":               {bpf.Record{Constraint: memcg, Domain: 2}, named(container, "/other"), oom.CauseUnknown},
		"removed, pod":            {bpf.Record{Constraint: memcg, Domain: 2}, gone(cgroups.Name{ID: 2, Path: pod}), oom.CausePod},
		"removed, above the pod":  {bpf.Record{Constraint: memcg, Domain: 3}, gone(cgroups.Name{ID: 3, Path: "/kubepods"}), oom.CauseAncestor},
		"removed, as all above":   {bpf.Record{Constraint: memcg, Domain: 3}, gone(cgroups.Name{ID: 3}), oom.CauseUnknown},
		"removed, not above":      {bpf.Record{Constraint: memcg, Domain: 9}, gone(cgroups.Name{ID: 9, Path: pod}), oom.CauseUnknown},
		"removed, in container":   {bpf.Record{Constraint: memcg, Domain: 2}, gone(cgroups.Name{ID: 2, Path: container}), oom.CauseContainer},
		"no domain":               {bpf.Record{Constraint: memcg}, named(container, ""), oom.CauseUnknown},
		"node":                    {bpf.Record{}, named(container, ""), oom.CauseNode},
		"cpuset":                  {bpf.Record{Constraint: bpf.ConstraintCpuset}, named(container, ""), oom.CauseCpuset},
		"mempolicy":               {bpf.Record{Constraint: bpf.ConstraintMempolicy}, named(container, ""), oom.CauseMempolicy},
		"sysrq":                   {bpf.Record{Order: bpf.OrderSysrq}, named(container, ""), oom.CauseSysrq},
		"no control":              {bpf.Record{Constraint: bpf.ConstraintUnknown, Flags: bpf.FlagNoControl, Order: -1}, named(container, ""), oom.CauseUnknown},
	} {
		test.record.Cgroup = 1
		require.Equal(t, test.want, cgroups.Cause(&test.record, test.names.victim, test.names.domain), name)
	}
}
