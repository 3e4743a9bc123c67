/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cgroups of a task, and the counts of each.
 */
#ifndef OOMWITNESS_CGROUPS_H
#define OOMWITNESS_CGROUPS_H

#include "maps.h"

static __always_inline __u64 cgroup_id(struct cgroup *cgrp)
{
	struct kernfs_node *kn = cgrp ? READ(cgrp, kn) : NULL;

	return kn ? READ(kn, id) : 0;
}

static __always_inline struct cgroup_subsys_state *memory_css(struct task_struct *task)
{
	struct css_set *set = READ(task, cgroups);
	struct cgroup_subsys_state *css = NULL;

	if (set && ENUM_EXISTS(enum cgroup_subsys_id, memory_cgrp_id))
		bpf_probe_read_kernel(&css, sizeof(css),
				      (void *)set + FIELD_OFFSET(struct css_set, subsys) +
					      sizeof(css) * ENUM_VALUE(enum cgroup_subsys_id, memory_cgrp_id));
	return css;
}

/* The task's cgroup on the hierarchy that memory is on. */
static __always_inline struct cgroup *memory_cgroup(struct task_struct *task)
{
	struct cgroup_subsys_state *css;
	struct css_set *set;

	if (hierarchy == 2) {
		set = READ(task, cgroups);
		return set ? READ(set, dfl_cgrp) : NULL;
	}
	css = memory_css(task);
	return css ? READ(css, cgroup) : NULL;
}

static __always_inline __u64 domain_id(struct mem_cgroup *memcg)
{
	return memcg ? cgroup_id(READ(memcg, css.cgroup)) : 0;
}

/* As mem_cgroup_get_oom_group: the flag counts up to the domain, and never at
 * the root, which has no parent. */
static __noinline int oom_group(struct task_struct *task, __u64 domain)
{
	struct cgroup_subsys_state *css = memory_css(task);
	struct cgroup_subsys_state *parent;
	int i;

	for (i = 0; i < MAX_DEPTH && css; i++) {
		parent = READ(css, parent);
		if (!parent)
			return 0;
		if (READ((struct mem_cgroup *)css, oom_group))
			return 1;
		if (domain && cgroup_id(READ(css, cgroup)) == domain)
			return 0;
		css = parent;
	}
	return 0;
}

static __noinline int count_in(__u64 id, __u64 parent, const struct record *r, int own)
{
	struct cgroup_entry *e;
	struct meta *m;

	if (!r)
		return 0;
	e = bpf_map_lookup_elem(&by_cgroup, &id);
	if (!e) {
		m = counts();
		if (m)
			__sync_fetch_and_add(&m->cgroups, 1);
		if (bpf_map_update_elem(&by_cgroup, &id, &zero_entry, BPF_NOEXIST))
			bpf_map_update_elem(&by_cgroup, &id, &zero_entry, BPF_NOEXIST);
		e = bpf_map_lookup_elem(&by_cgroup, &id);
		if (!e) {
			if (m)
				__sync_fetch_and_add(&m->lost_cgroup, 1);
			return 0;
		}
		if (m)
			e->made = m->cgroups;
	}
	__sync_fetch_and_add(&e->turn, 1);
	e->parent = parent;
	if (e->last_seq != r->seq)
		__sync_fetch_and_add(&e->events, 1);
	e->last_ns = r->boot_ns;
	e->last_seq = r->seq;
	e->last_domain = r->domain;
	e->last_start_ticks = r->start_ticks;
	e->last_constraint = r->constraint;
	e->last_order = r->order;
	e->last_tgid = r->tgid;
	e->last_flags = r->flags;
	__builtin_memcpy(e->last_comm, r->comm, COMM_LEN);
	if (r->flags & FLAG_NS_INIT)
		__sync_fetch_and_add(&e->ns_inits, 1);
	if (own)
		__sync_fetch_and_add(&e->own, 1);
	__sync_fetch_and_add(&e->victims, 1);
	__sync_fetch_and_add(&e->turn, 1);
	return 0;
}

/* Links a victim to the ones before it, so that those of one cgroup are found one
 * by one, however many were killed elsewhere. */
static __always_inline void link_before(struct cgroup *cgrp, struct record *r)
{
	struct cgroup_subsys_state *css;
	struct cgroup_entry *e;
	__u64 id;
	int i;

	for (i = 0; i < MAX_BEFORE; i++) {
		id = cgroup_id(cgrp);
		if (!id)
			return;
		e = bpf_map_lookup_elem(&by_cgroup, &id);
		if (e) {
			r->before[i].tgid = e->last_tgid;
			r->before[i].start_low = e->last_start_ticks;
		}
		css = READ(cgrp, self.parent);
		cgrp = css ? READ(css, cgroup) : NULL;
	}
}

static __always_inline void count_cgroups(struct cgroup *cgrp, const struct record *r)
{
	struct cgroup_subsys_state *css;
	__u64 id = cgroup_id(cgrp), parent;
	int i;

	for (i = 0; i < MAX_DEPTH && id; i++) {
		css = READ(cgrp, self.parent);
		cgrp = css ? READ(css, cgroup) : NULL;
		parent = cgroup_id(cgrp);
		count_in(id, parent, r, i == 0);
		id = parent;
	}
}

#endif
