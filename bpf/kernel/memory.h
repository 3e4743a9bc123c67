/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What filled the memory at an OOM event, and whom the OOM killer has looked at.
 *
 * The kernel has just summed a cgroup's statistics up for its log, if it has written one:
 * at most ten in 5 s. Else they are as old as its last sum, of 2 s ago at most.
 */
#ifndef OOMWITNESS_MEMORY_H
#define OOMWITNESS_MEMORY_H

#include "cgroups.h"
#include "task.h"

#define LONG_MAX 0x7fffffffffffffffULL

/* The sums of a cgroup and all below it. */
static __always_inline __u64 vmstats_of(struct mem_cgroup *memcg)
{
	struct memcg_vmstats *stats;

	if (FIELD_EXISTS(struct mem_cgroup, vmstats)) {
		stats = READ(memcg, vmstats);
		return stats ? (__u64)stats + FIELD_OFFSET(struct memcg_vmstats, state) : 0;
	}
	if (FIELD_EXISTS(struct mem_cgroup___embedded, vmstats))
		return (__u64)memcg + FIELD_OFFSET(struct mem_cgroup___embedded, vmstats) +
		       FIELD_OFFSET(struct memcg_vmstats, state);
	if (FIELD_EXISTS(struct mem_cgroup___atomic, vmstats))
		return (__u64)memcg + FIELD_OFFSET(struct mem_cgroup___atomic, vmstats);
	return 0;
}

/* The item's place in state. From 6.11 on the kernel has a table for that, whose first
 * entry is 1 or, from 6.12 on, 0. */
static __noinline __u64 stat_of(__u64 state, __u32 item, __u32 mapped)
{
	__u8 first = 0, index = 0;
	__s64 value = 0;

	if (mapped) {
		bpf_probe_read_kernel(&first, 1, (void *)stats_index + ENUM_VALUE(enum node_stat_item, NR_INACTIVE_ANON));
		bpf_probe_read_kernel(&index, 1, (void *)stats_index + item);
		if (index < first || index == 0xff)
			return 0;
		item = index - first;
	}
	bpf_probe_read_kernel(&value, sizeof(value), (void *)state + item * sizeof(value));
	return value < 0 ? 0 : value;
}

#define NODE_STAT(state, item, mapped) \
	(ENUM_EXISTS(enum node_stat_item, item) ? stat_of(state, ENUM_VALUE(enum node_stat_item, item), mapped) : 0)
#define MEMCG_STAT(state, item) \
	(ENUM_EXISTS(enum memcg_stat_item, item) ? stat_of(state, ENUM_VALUE(enum memcg_stat_item, item), stats_mapped) : 0)

/* slab_unit: the node counts slab in pages, a cgroup in bytes. */
static __always_inline void read_kinds(struct event_memory *m, __u64 state, __u32 mapped, __u64 slab_unit)
{
	m->anon = NODE_STAT(state, NR_ANON_MAPPED, mapped) * page_size;
	m->file = NODE_STAT(state, NR_FILE_PAGES, mapped) * page_size;
	m->shmem = NODE_STAT(state, NR_SHMEM, mapped) * page_size;
	m->slab = (NODE_STAT(state, NR_SLAB_RECLAIMABLE_B, mapped) + NODE_STAT(state, NR_SLAB_UNRECLAIMABLE_B, mapped)) * slab_unit;
	m->stacks = NODE_STAT(state, NR_KERNEL_STACK_KB, mapped) * 1024;
	m->known |= MEMORY_KINDS;
	if (ENUM_EXISTS(enum node_stat_item, NR_PAGETABLE)) {
		m->pgtables = NODE_STAT(state, NR_PAGETABLE, mapped) * page_size;
		m->known |= MEMORY_PGTABLES;
	}
	m->kernel = m->slab + m->stacks + m->pgtables;
}

static __always_inline void read_memcg_kinds(struct event_memory *m, struct mem_cgroup *memcg)
{
	__u64 state = vmstats_of(memcg);

	if (!state || (stats_mapped && !stats_index))
		return;
	read_kinds(m, state, stats_mapped, 1);
	m->sockets = MEMCG_STAT(state, MEMCG_SOCK) * page_size;
	m->known |= MEMORY_SOCKETS;
	if (hierarchy == 1 && FIELD_EXISTS(struct mem_cgroup, kmem)) {
		m->kernel = READ(memcg, kmem.usage.counter) * page_size;
		m->known |= MEMORY_KERNEL;
	} else if (ENUM_EXISTS(enum memcg_stat_item, MEMCG_KMEM)) {
		m->kernel = MEMCG_STAT(state, MEMCG_KMEM) * page_size;
		m->known |= MEMORY_KERNEL;
	} else {
		m->kernel += MEMCG_STAT(state, MEMCG_PERCPU_B);
	}
}

static __always_inline void read_memcg(struct event_memory *m, struct mem_cgroup *memcg)
{
	__u64 usage = READ(memcg, memory.usage.counter), max = READ(memcg, memory.max);
	__u64 swap;

	m->cgroup = domain_id(memcg);
	m->usage = usage * page_size;
	if (max < LONG_MAX / page_size)
		m->limit = max * page_size;
	if (hierarchy == 2 || !FIELD_EXISTS(struct mem_cgroup, memsw)) {
		swap = READ(memcg, swap.usage.counter);
	} else {
		swap = READ(memcg, memsw.usage.counter);
		swap = swap > usage ? swap - usage : 0;
	}
	m->swap = swap * page_size;
	m->known |= MEMORY_USAGE | MEMORY_SWAP;
	read_memcg_kinds(m, memcg);
}

static __always_inline void read_node(struct event_memory *m)
{
	__s64 total = 0, free = 0;

	if (!node_stats || !zone_stats || !total_ram)
		return;
	bpf_probe_read_kernel(&total, sizeof(total), (void *)total_ram);
	free = stat_of(zone_stats, ENUM_VALUE(enum zone_stat_item, NR_FREE_PAGES), 0);
	m->usage = total > free ? (total - free) * page_size : 0;
	m->known |= MEMORY_USAGE;
	read_kinds(m, node_stats, 0, page_size);
}

/* oom_kill_process was seen, else memcg is the victim's own. */
static __noinline int write_memory(struct flight *f, struct mem_cgroup *memcg, __u32 known)
{
	__u32 zero = 0, slot;
	struct event_memory *m;
	struct scan *s;

	if (!f || f->measured)
		return 0;
	f->measured = 1;
	slot = f->seq & (MEMORIES - 1);
	m = bpf_map_lookup_elem(&memories, &slot);
	if (!m)
		return 0;
	__builtin_memset(m, 0, sizeof(*m));
	m->known = known;
	if (memcg)
		read_memcg(m, memcg);
	else
		read_node(m);
	s = bpf_map_lookup_elem(&scans, &zero);
	if (s && s->owner == f->owner) {
		__builtin_memcpy(m->list, s->list, sizeof(m->list));
		m->scanned = s->length;
		m->known |= MEMORY_CANDIDATES;
		s->owner = 0;
	}
	m->seq = f->seq;
	return 0;
}

/* Which of the list is the smallest, all of it in use. */
static __always_inline __u32 smallest(const struct scan *s)
{
	__u64 size, least = ~0ULL;
	__u32 at = 0, i;

	for (i = 0; i < MAX_CANDIDATES; i++) {
		size = s->list[i].rss + s->list[i].swap;
		if (size < least) {
			least = size;
			at = i;
		}
	}
	return at;
}

/* Keeps a process that the OOM killer looks at if it is among the largest. A scan begins
 * anew while nothing was chosen. */
static __always_inline int on_candidate(struct task_struct *task, struct oom_control *oc)
{
	struct mm_struct *mm = READ(task, mm);
	struct signal_struct *signal = READ(task, signal);
	struct candidate *c;
	struct record *r;
	struct flight *f;
	struct scan *s;
	__u32 at = 0;
	int adj;

	f = flight_of(bpf_get_current_pid_tgid());
	s = bpf_map_lookup_elem(&scans, &at);
	adj = signal ? READ(signal, oom_score_adj) : 0;
	if (!f || !s || !mm || adj == OOM_SCORE_ADJ_MIN)
		return 0;
	if (!READ(oc, chosen)) {
		s->length = 0;
		s->owner = bpf_get_current_pid_tgid();
	} else if (s->owner != bpf_get_current_pid_tgid()) {
		return 0; /* attached in the middle of the scan */
	}
	r = &f->record;
	r->swap = r->rss_anon = r->rss_file = r->rss_shmem = 0;
	read_mm(r, mm);
	r->rss_anon += r->rss_file + r->rss_shmem;
	at = s->length < MAX_CANDIDATES ? s->length : smallest(s);
	c = &s->list[at & (MAX_CANDIDATES - 1)];
	if (s->length < MAX_CANDIDATES)
		s->length++;
	else if (c->rss + c->swap >= r->rss_anon + r->swap)
		return 0;
	c->tgid = node_tgid(task);
	c->oom_score_adj = adj;
	c->rss = r->rss_anon;
	c->swap = r->swap;
	bpf_probe_read_kernel(&c->comm, sizeof(c->comm), &task->comm);
	return 0;
}

#endif
