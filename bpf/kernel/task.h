/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is read of a task: its PIDs, its ancestors, its memory.
 */
#ifndef OOMWITNESS_TASK_H
#define OOMWITNESS_TASK_H

#include "maps.h"

static __always_inline struct upid *upid_at(struct pid *pid, unsigned int level)
{
	return (void *)pid + FIELD_OFFSET(struct pid, numbers) + level * TYPE_SIZE(struct upid);
}

static __always_inline int is_node_ns(struct upid *upid)
{
	struct pid_namespace *ns = READ(upid, ns);

	return ns && READ(ns, ns.inum) == pid_ns;
}

/* The PID in the node's PID namespace, 0 for one that is outside: where the node
 * is a container itself. */
static __noinline __u32 pid_in_node(struct pid *pid)
{
	unsigned int level = pid ? READ(pid, level) : 0;
	struct upid *upid;
	unsigned int i;

	if (!pid)
		return 0;
	for (i = 0; i < MAX_DEPTH && i <= level; i++) {
		upid = upid_at(pid, i);
		if (is_node_ns(upid))
			return READ(upid, nr);
	}
	return 0;
}

static __always_inline __u32 node_tid(struct task_struct *task)
{
	return pid_ns == FIRST_PID_NS ? (__u32)READ(task, pid) : pid_in_node(READ(task, thread_pid));
}

static __always_inline __u32 node_tgid(struct task_struct *task)
{
	struct task_struct *leader;

	if (pid_ns == FIRST_PID_NS)
		return READ(task, tgid);
	leader = READ(task, group_leader);
	return leader ? pid_in_node(READ(leader, thread_pid)) : 0;
}

static __always_inline __u64 start_ticks(struct task_struct *leader)
{
	return READ(leader, start_boottime) / TICK_NS;
}

/* Whether a process's own PID namespace is the node's. */
static __always_inline int in_node_ns(struct task_struct *leader)
{
	struct pid *pid = READ(leader, thread_pid);
	unsigned int level = pid ? READ(pid, level) : 0;

	if (!pid || level > MAX_DEPTH)
		return 0;
	if (pid_ns == FIRST_PID_NS)
		return level == 0;
	return is_node_ns(upid_at(pid, level));
}

/* Whether it is process 1 of a PID namespace below the node's. */
static __noinline int ns_init(struct task_struct *leader)
{
	struct pid *pid = READ(leader, thread_pid);
	unsigned int level = pid ? READ(pid, level) : 0;
	struct upid *upid;

	if (level == 0 || level > MAX_DEPTH)
		return 0;
	upid = upid_at(pid, level);
	return READ(upid, nr) == 1 && (pid_ns == FIRST_PID_NS || !is_node_ns(upid));
}

/* The ancestors end at the node's process 1, or where they leave the node. */
static __always_inline void read_ancestors(struct record *r, struct task_struct *leader)
{
	struct task_struct *task = leader;
	__u32 tgid;
	int i;

	for (i = 0; i < MAX_ANCESTORS; i++) {
		task = READ(task, real_parent);
		task = task ? READ(task, group_leader) : NULL;
		tgid = task ? node_tgid(task) : 0;
		if (!tgid)
			return;
		r->ancestors[i].tgid = tgid;
		r->ancestors[i].start_low = start_ticks(task);
		if (ns_init(task))
			r->ns_inits |= 1U << i;
		r->depth = i + 1;
		if (tgid == 1)
			return;
	}
	r->flags |= FLAG_LINEAGE_CUT;
}

/* The figures are those of the kernel's log line: the per-CPU remainders of
 * 6.2 and later are not added up. */
static __noinline int read_mm(struct record *r, struct mm_struct *mm)
{
	struct mm_struct___atomic *old = (void *)mm;

	if (!r)
		return 0;
	if (!mm) {
		r->flags |= FLAG_NO_RSS;
		return 0;
	}
	r->total_vm = READ(mm, total_vm);
	r->pgtables = READ(mm, pgtables_bytes.counter);
	if (FIELD_EXISTS(struct mm_struct___atomic, rss_stat.count)) {
		r->rss_file = READ(old, rss_stat.count[0].counter);
		r->rss_anon = READ(old, rss_stat.count[1].counter);
		r->swap = READ(old, rss_stat.count[2].counter);
		r->rss_shmem = READ(old, rss_stat.count[3].counter);
	} else if (FIELD_EXISTS(struct mm_struct, rss_stat[0].count)) {
		r->rss_file = READ(mm, rss_stat[0].count);
		r->rss_anon = READ(mm, rss_stat[1].count);
		r->swap = READ(mm, rss_stat[2].count);
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
	if ((__s64)r->swap < 0)
		r->swap = 0;
	return 0;
}

static __always_inline void read_task(struct record *r, struct task_struct *task)
{
	struct task_struct *leader = READ(task, group_leader);
	struct signal_struct *signal = READ(task, signal);
	struct cred *cred = READ(task, real_cred);

	r->tid = node_tid(task);
	r->tgid = node_tgid(task);
	r->start_ticks = start_ticks(leader);
	bpf_probe_read_kernel(&r->comm, sizeof(r->comm), &task->comm);
	if (signal) {
		r->oom_score_adj = READ(signal, oom_score_adj);
		r->session = pid_in_node(READ(signal, pids[PIDTYPE_SID]));
	}
	if (cred)
		r->uid = READ(cred, uid.val);
	if (ns_init(leader))
		r->flags |= FLAG_NS_INIT;
	read_ancestors(r, leader);
	read_mm(r, READ(task, mm));
}

#endif
