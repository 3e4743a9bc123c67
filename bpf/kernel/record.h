/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a victim is written down in the maps. ledger.bpf.c says when.
 */
#ifndef OOMWITNESS_RECORD_H
#define OOMWITNESS_RECORD_H

#include "cgroups.h"
#include "task.h"

/* Enters a victim, and returns 0 for one that was entered before. An error other
 * than EEXIST says nothing about that: the map's locks may refuse (EBUSY, from
 * 6.15 on EDEADLK and ETIMEDOUT), and so may its list of free elements (ENOMEM).
 * Then a look-up, which takes no lock, decides; and what the map won't take even
 * the second time is remembered in the flight, since the first victim of a group
 * comes by twice. */
static __always_inline int enter(struct flight *f, struct meta *m, const struct task_key *key, const struct record *r)
{
	__s32 err; /* before 6.4 only the lower half is set */

	err = bpf_map_update_elem(&by_task, key, r, BPF_NOEXIST);
	if (err && err != -EEXIST && !bpf_map_lookup_elem(&by_task, key))
		err = bpf_map_update_elem(&by_task, key, r, BPF_NOEXIST);
	if (!err)
		return 1;
	if (err == -EEXIST || bpf_map_lookup_elem(&by_task, key))
		return 0;
	if (f->refused.tgid == key->tgid && f->refused.start_ticks == key->start_ticks)
		return 0;
	f->refused = *key;
	__sync_fetch_and_add(&m->lost_task, 1);
	return 1;
}

static __always_inline void read_event(struct record *r, const struct flight *f)
{
	struct task_struct *trigger = (void *)bpf_get_current_task();

	r->seq = f->seq;
	r->index = f->index;
	r->domain = f->domain;
	r->constraint = f->constraint;
	r->order = f->order;
	r->totalpages = f->totalpages;
	r->points = f->points;
	r->trigger_tid = node_tid(trigger);
	r->trigger_tgid = node_tgid(trigger);
	bpf_get_current_comm(r->trigger_comm, sizeof(r->trigger_comm));
}

static __noinline int write_down(struct flight *f, struct task_struct *task, __u32 flags)
{
	struct record *r = &f->record;
	struct meta *m = counts();
	struct task_key key = {};
	struct cgroup *cgrp;

	if (!f || !m)
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	r->abi = abi;
	r->size = sizeof(*r);
	r->tier = tier;
	r->boot_ns = bpf_ktime_get_boot_ns();
	r->flags = f->flags | flags;
	read_event(r, f);
	read_task(r, task);
	if (!r->tgid) {
		__sync_fetch_and_add(&m->outside, 1);
		return 0;
	}
	if (oom_group(task, f->domain))
		r->flags |= FLAG_OOM_GROUP;
	cgrp = memory_cgroup(task);
	r->cgroup = cgroup_id(cgrp);
	link_before(cgrp, r);

	key.tgid = r->tgid;
	key.start_ticks = r->start_ticks;
	if (!enter(f, m, &key, r))
		return 0;
	f->index++;
	__sync_fetch_and_add(&m->victims, 1);
	if (r->flags & FLAG_NO_CONTROL)
		__sync_fetch_and_add(&m->no_control, 1);
	count_cgroups(cgrp, r);
	if (bpf_ringbuf_output(&events, r, sizeof(*r), 0))
		__sync_fetch_and_add(&m->lost_ring, 1);
	return 0;
}

static __always_inline void blank_event(struct flight *f, __u64 current)
{
	__builtin_memset(f, 0, __builtin_offsetof(struct flight, sent));
	f->owner = current;
	f->constraint = CONSTRAINT_UNKNOWN;
	f->flags = FLAG_NO_CONTROL;
	f->seq = next_seq();
}

#endif
