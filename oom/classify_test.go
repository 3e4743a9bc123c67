package oom

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClassify(t *testing.T) {
	const (
		c, nested, deeper, pod, pods, root = "c", "c/n", "c/n/d", "pod", "pods", "/"
		sibling, above                     = "sibling", "/.."
	)
	victim := []string{c, pod, pods, root}
	inNested := []string{deeper, nested, c, pod, pods, root}
	moved := []string{sibling, pod, pods, root}
	under := []string{c, pod, pods, root, above}
	memcg := func(limit string, victim []string) Kill[string] {
		return Kill[string]{Constraint: ConstraintMemcg, Limit: limit, Victim: victim, Container: c, Above: []string{pod, pods, root}, Pod: pod}
	}
	with := func(k Kill[string], change func(*Kill[string])) Kill[string] { change(&k); return k }
	for name, tc := range map[string]struct {
		kill Kill[string]
		want Cause
	}{
		"own limit":                      {memcg(c, victim), CauseContainer},
		"own limit, of nested":           {memcg(c, inNested), CauseContainer},
		"own limit, of nobody knows":     {memcg(c, nil), CauseContainer},
		"nested limit":                   {memcg(nested, inNested), CauseContainer},
		"nested limit, its own":          {memcg(deeper, inNested), CauseContainer},
		"pod's limit":                    {memcg(pod, victim), CausePod},
		"pod's limit, of nested":         {memcg(pod, inNested), CausePod},
		"pod's limit, of moved":          {memcg(pod, moved), CausePod},
		"above the pod":                  {memcg(pods, victim), CauseAncestor},
		"root of a namespace":            {memcg(root, victim), CauseAncestor},
		"above that root":                {memcg(above, under), CauseAncestor},
		"moved to a sibling":             {memcg(sibling, moved), CauseUnknown},
		"nobody knows from where":        {memcg(sibling, nil), CauseUnknown},
		"not the victim's at all":        {memcg(sibling, victim), CauseUnknown},
		"no pod":                         {with(memcg(pod, victim), func(k *Kill[string]) { k.Pod = "" }), CauseAncestor},
		"inside, nested was removed":     {with(memcg(nested, nil), func(k *Kill[string]) { k.Inside = true }), CauseContainer},
		"inside, above":                  {with(memcg(pods, nil), func(k *Kill[string]) { k.Inside = true }), CauseAncestor},
		"in no container, own limit":     {Kill[string]{Constraint: ConstraintMemcg, Limit: "unit", Victim: []string{"unit", root}, Container: "unit", Above: []string{root}}, CauseContainer},
		"removed, its pod is known":      {Kill[string]{Constraint: ConstraintMemcg, Limit: pod, Above: []string{pod, root}, Pod: pod}, CausePod},
		"removed, nothing is known":      {Kill[string]{Constraint: ConstraintMemcg, Limit: "x", Victim: []string{"", "x"}}, CauseUnknown},
		"limit unseen":                   {memcg("", victim), CauseUnknown},
		"node":                           {with(memcg("", victim), func(k *Kill[string]) { k.Constraint = ConstraintNone }), CauseNode},
		"a limit, its constraint is not": {with(memcg(pod, victim), func(k *Kill[string]) { k.Constraint = ConstraintNone }), CausePod},
		"cpuset":                         {with(memcg("", victim), func(k *Kill[string]) { k.Constraint = ConstraintCpuset }), CauseCpuset},
		"memory policy":                  {with(memcg("", victim), func(k *Kill[string]) { k.Constraint = ConstraintMempolicy }), CauseMempolicy},
		"sysrq":                          {with(memcg("", victim), func(k *Kill[string]) { k.Constraint, k.Order = ConstraintNone, OrderSysrq }), CauseSysrq},
		"tier C":                         {with(memcg("", victim), func(k *Kill[string]) { k.Constraint = ConstraintUnknown }), CauseUnknown},
		"tier C, order unseen":           {with(memcg("", victim), func(k *Kill[string]) { k.Constraint, k.Order = ConstraintUnknown, OrderSysrq }), CauseUnknown},
		"a later kernel's constraint":    {with(memcg(c, victim), func(k *Kill[string]) { k.Constraint = 4 }), CauseUnknown},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, Classify(tc.kill)) })
	}
}
