/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who sent a container's init its SIGKILL.
 *
 * The kernel traces a signal in the task that sends it, whatever the call is: kill,
 * also of a group or of all, tgkill, pidfd_send_signal, and a write to cgroup.kill.
 * What siginfo says can be made up by the sender; the task can't. The first one is
 * kept: it has doomed the process, and the kernel ignores all after it.
 */
#ifndef OOMWITNESS_SENDER_H
#define OOMWITNESS_SENDER_H

#include "cgroups.h"
#include "task.h"

/* include/trace/events/signal.h. A SIGKILL to a process that is dying is ignored, and so
 * is one to process 1 of a PID namespace from inside. */
#define TRACE_SIGNAL_DELIVERED 0

/* Whether nobody but root can have made it: process 1 of a PID namespace that was
 * started in the node's own one by root, as a container's is. So nobody else can fill
 * the map. */
static __always_inline int container_init(struct task_struct *leader)
{
	struct task_struct *parent;
	struct cred *cred;

	if (!ns_init(leader))
		return 0;
	parent = READ(leader, real_parent);
	parent = parent ? READ(parent, group_leader) : NULL;
	if (!parent || !in_node_ns(parent))
		return 0;
	cred = READ(parent, real_cred);
	return cred && READ(cred, uid.val) == 0;
}

static __always_inline void read_key(struct task_key *key, struct task_struct *leader)
{
	key->tgid = node_tgid(leader);
	key->start_ticks = start_ticks(leader);
}

static __always_inline struct sender *sender_of(struct task_key *key, struct task_struct *leader)
{
	struct sender *e = bpf_map_lookup_elem(&inits, key);
	struct meta *m;

	if (e || !container_init(leader))
		return e;
	if (bpf_map_update_elem(&inits, key, &zero_sender, BPF_NOEXIST)) {
		m = counts();
		if (m)
			__sync_fetch_and_add(&m->lost_sender, 1);
	}
	return bpf_map_lookup_elem(&inits, key);
}

static __noinline int write_sender(struct task_struct *task, __u32 flags)
{
	struct task_struct *self = (void *)bpf_get_current_task(), *leader;
	struct task_key key = {};
	struct sender *e;
	struct cred *cred;

	leader = READ(task, group_leader);
	if (!leader)
		return 0;
	read_key(&key, leader);
	e = sender_of(&key, leader);
	if (!e || e->boot_ns)
		return 0;
	e->tgid = node_tgid(self);
	if (!e->tgid)
		flags |= SENDER_OUTSIDE;
	leader = READ(self, group_leader);
	e->start_ticks = leader ? start_ticks(leader) : 0;
	cred = READ(self, real_cred);
	e->uid = cred ? READ(cred, uid.val) : 0;
	e->cgroup = cgroup_id(memory_cgroup(self));
	e->init_cgroup = cgroup_id(memory_cgroup(task));
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->flags |= flags;
	e->boot_ns = bpf_ktime_get_boot_ns();
	return 0;
}

/* Takes back what the kernel is on record for: it was the OOM killer (tier C). */
static __noinline int withdraw_sender(struct task_struct *task)
{
	struct task_struct *leader = READ(task, group_leader);
	struct task_key key = {};
	struct sender *e;

	if (!leader)
		return 0;
	read_key(&key, leader);
	e = bpf_map_lookup_elem(&inits, &key);
	if (!e || !(e->flags & SENDER_KERNEL))
		return 0;
	if (!(e->flags & SENDER_WATCHED)) {
		bpf_map_delete_elem(&inits, &key);
		return 0;
	}
	*e = zero_sender;
	e->flags = SENDER_WATCHED;
	return 0;
}

#endif
