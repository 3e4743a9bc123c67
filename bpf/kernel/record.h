/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps, and how a victim is written down in them. Everything here is for
 * ledger.bpf.c, which says when.
 */
#ifndef OOMWITNESS_RECORD_H
#define OOMWITNESS_RECORD_H

#include "kernel.h"
#include "abi.h"

#define SIGKILL 9
#define EEXIST 17
/* include/linux/sched/signal.h: the kernel's own signals, no siginfo. */
#define SEND_SIG_PRIV 1

#define TICK_NS 10000000ULL /* USER_HZ is 100 on amd64 and arm64 */
#define SECOND_NS 1000000000ULL
#define MAX_DEPTH 32 /* cgroups above a victim's that are counted */

/* Set by the loader. */
const volatile __u32 tier = TIER_C;
const volatile __u32 hierarchy = 2;
const volatile __u32 abi = 1;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct task_key);
	__type(value, struct record);
} by_task SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct cgroup_entry);
} by_cgroup SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 << 10);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct meta);
} meta SEC(".maps");

/* A SIGKILL of the kernel's own that a task has sent outside of what is known
 * to be the OOM killer: all of them in tier C. */
struct sent {
	__u64 owner; /* pid_tgid of the sender */
	__u64 task;  /* to whom; 0 once it was marked */
	__u64 ns;
	__u64 marked_ns;
	__u64 mm;     /* of the last one marked */
	__u64 marked; /* its task */
	__u32 tid;
	__u32 marked_tgid;
};

/* The OOM that a task is going through. oom_lock lets one through at a time, so
 * a slot found by thread ID and checked by owner is enough, and never full. sent
 * is not under oom_lock, and has an owner of its own: two tasks meet in it if
 * their IDs are equal modulo FLIGHTS and one sends its SIGKILL in the moment
 * between the other's and its mark. */
struct flight {
	__u64 owner; /* pid_tgid of the task that runs the OOM killer */
	__u64 seq;
	__u64 domain;
	__u64 totalpages;
	__s64 points;
	__u32 constraint;
	__s32 order;
	__u32 index;
	__u32 victim; /* tgid; 0 outside __oom_kill_process, and in tier C */
	__u32 flags;
	__u32 pad;
	struct task_key refused; /* the last one that by_task did not take */
	struct sent sent;
};

#define FLIGHTS 512
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLIGHTS);
	__type(key, __u32);
	__type(value, struct flight);
} flights SEC(".maps");

/* For BTF: the loader's layout test reads these types. */
const struct cgroup_entry zero_entry = {};

static __always_inline struct meta *counts(void)
{
	__u32 key = META_COUNTS;

	return bpf_map_lookup_elem(&meta, &key);
}

static __always_inline struct flight *flight_of(__u64 current)
{
	__u32 key = (__u32)current & (FLIGHTS - 1);

	return bpf_map_lookup_elem(&flights, &key);
}

/* Two steps, since an atomic operation that returns a value needs 5.12: oom_lock
 * keeps them together. */
static __always_inline __u64 next_seq(void)
{
	struct meta *m = counts();

	if (!m)
		return 0;
	__sync_fetch_and_add(&m->seq, 1);
	return m->seq;
}

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

static __always_inline int ns_init(struct task_struct *leader)
{
	struct pid *pid = READ(leader, thread_pid);
	unsigned int level = pid ? READ(pid, level) : 0;
	int nr = 0;

	if (level == 0 || level > MAX_DEPTH)
		return 0;
	bpf_probe_read_kernel(&nr, sizeof(nr),
			      (void *)pid + FIELD_OFFSET(struct pid, numbers) +
				      level * TYPE_SIZE(struct upid) + FIELD_OFFSET(struct upid, nr));
	return nr == 1;
}

/* The figures are those of the kernel's log line: the per-CPU remainders of
 * 6.2 and later are not added up. */
static __always_inline void read_mm(struct record *r, struct mm_struct *mm)
{
	struct mm_struct___atomic *old = (void *)mm;

	if (!mm) {
		r->flags |= FLAG_NO_RSS;
		return;
	}
	r->total_vm = READ(mm, total_vm);
	r->pgtables = READ(mm, pgtables_bytes.counter);
	if (FIELD_EXISTS(struct mm_struct___atomic, rss_stat.count)) {
		r->rss_file = READ(old, rss_stat.count[0].counter);
		r->rss_anon = READ(old, rss_stat.count[1].counter);
		r->rss_shmem = READ(old, rss_stat.count[3].counter);
	} else if (FIELD_EXISTS(struct mm_struct, rss_stat[0].count)) {
		r->rss_file = READ(mm, rss_stat[0].count);
		r->rss_anon = READ(mm, rss_stat[1].count);
		r->rss_shmem = READ(mm, rss_stat[3].count);
	} else {
		r->flags |= FLAG_NO_RSS;
	}
	/* A per-CPU counter may be below zero for a moment; the kernel shows 0. */
	if ((__s64)r->rss_file < 0)
		r->rss_file = 0;
	if ((__s64)r->rss_anon < 0)
		r->rss_anon = 0;
	if ((__s64)r->rss_shmem < 0)
		r->rss_shmem = 0;
}

static __always_inline void read_task(struct record *r, struct task_struct *task)
{
	struct task_struct *leader = READ(task, group_leader);
	struct signal_struct *signal = READ(task, signal);
	struct cred *cred = READ(task, real_cred);

	r->tid = READ(task, pid);
	r->tgid = READ(task, tgid);
	r->start_ticks = READ(leader, start_boottime) / TICK_NS;
	bpf_probe_read_kernel(&r->comm, sizeof(r->comm), &task->comm);
	if (signal)
		r->oom_score_adj = READ(signal, oom_score_adj);
	if (cred)
		r->uid = READ(cred, uid.val);
	if (ns_init(leader))
		r->flags |= FLAG_NS_INIT;
	read_mm(r, READ(task, mm));
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

static __always_inline void write_down(struct flight *f, struct task_struct *task, __u32 flags)
{
	struct meta *m = counts();
	struct task_key key = {};
	struct record r = {};
	struct cgroup *cgrp;

	if (!m)
		return;
	r.abi = abi;
	r.size = sizeof(r);
	r.tier = tier;
	r.boot_ns = bpf_ktime_get_boot_ns();
	r.seq = f->seq;
	r.domain = f->domain;
	r.constraint = f->constraint;
	r.order = f->order;
	r.totalpages = f->totalpages;
	r.points = f->points;
	r.flags = f->flags | flags;
	read_task(&r, task);
	if (oom_group(task, f->domain))
		r.flags |= FLAG_OOM_GROUP;
	cgrp = memory_cgroup(task);
	r.cgroup = cgroup_id(cgrp);
	r.trigger_tid = (__u32)f->owner;
	r.trigger_tgid = f->owner >> 32;
	bpf_get_current_comm(r.trigger_comm, sizeof(r.trigger_comm));
	r.index = f->index;

	key.tgid = r.tgid;
	key.start_ticks = r.start_ticks;
	if (!enter(f, m, &key, &r))
		return;
	f->index++;
	__sync_fetch_and_add(&m->victims, 1);
	if (r.flags & FLAG_NO_CONTROL)
		__sync_fetch_and_add(&m->no_control, 1);
	count_cgroups(cgrp, &r);
	if (bpf_ringbuf_output(&events, &r, sizeof(r), 0))
		__sync_fetch_and_add(&m->lost_ring, 1);
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
