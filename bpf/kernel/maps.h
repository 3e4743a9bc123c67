/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps, and the settings of the programs.
 */
#ifndef OOMWITNESS_MAPS_H
#define OOMWITNESS_MAPS_H

#include "kernel.h"
#include "abi.h"

#define SIGKILL 9
#define EEXIST 17
/* include/linux/sched/signal.h: the kernel's own signals, no siginfo. */
#define SEND_SIG_PRIV 1

#define TICK_NS 10000000ULL /* USER_HZ is 100 on amd64 and arm64 */
#define SECOND_NS 1000000000ULL
#define MAX_DEPTH 32 /* cgroups above a victim's that are counted */
#define OOM_SCORE_ADJ_MIN (-1000) /* include/uapi/linux/oom.h */
#define PIDTYPE_SID 3 /* include/linux/pid.h, the same since 4.19 */
#define FIRST_PID_NS 0xEFFFFFFCU /* include/linux/proc_ns.h, PROC_PID_INIT_INO */

/* Set by the loader. */
const volatile __u32 tier = TIER_C;
const volatile __u32 hierarchy = 2;
const volatile __u32 abi = 3;
/* The inode of the PID namespace whose PIDs are the node's. */
const volatile __u32 pid_ns = FIRST_PID_NS;
const volatile __u64 page_size = 4096;
/* Addresses of the kernel's own variables, 0 where they are not known. */
const volatile __u64 node_stats = 0;	/* vm_node_stat */
const volatile __u64 zone_stats = 0;	/* vm_zone_stat */
const volatile __u64 total_ram = 0;	/* _totalram_pages */
const volatile __u64 stats_index = 0;	/* mem_cgroup_stats_index, from 6.11 on */
const volatile __u32 stats_mapped = 1;	/* whether the kernel has that */

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

/* Not LRU: who is in it can't be pushed out. Userspace enters the inits that it
 * watches, and removes them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct task_key);
	__type(value, struct sender);
} inits SEC(".maps");

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
	__u32 dying; /* it was dying before the signal */
	__u32 pad;
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
	__u32 measured; /* its memory was read */
	__u64 memcg;
	struct task_key refused; /* the last one that by_task did not take */
	struct sent sent;
	struct record record; /* the one that is being made: too large for the stack */
};

#define FLIGHTS 128
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLIGHTS);
	__type(key, __u32);
	__type(value, struct flight);
} flights SEC(".maps");

/* The newest OOM events by their number. */
#define MEMORIES 64
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MEMORIES);
	__type(key, __u32);
	__type(value, struct event_memory);
} memories SEC(".maps");

/* The scan for a victim that is under way: oom_lock lets one through at a time. */
struct scan {
	__u64 owner;
	__u32 length;
	__u32 pad;
	struct candidate list[MAX_CANDIDATES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scan);
} scans SEC(".maps");

/* For BTF: the loader's layout test reads these types. */
const struct cgroup_entry zero_entry = {};
const struct sender zero_sender = {};

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

#endif
