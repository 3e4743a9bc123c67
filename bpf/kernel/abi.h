/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the pinned maps hold: the ledger's ABI. Go's side is ../abi.go, and
 * TestLayout compares the two. Any change here is a new ABI number there.
 * A later ABI may only append to the structs of by_task, by_cgroup and meta;
 * the first 16 bytes of meta never change. The size of the maps is of the ABI as
 * well; the map of flights is not.
 */
#ifndef OOMWITNESS_ABI_H
#define OOMWITNESS_ABI_H

#define COMM_LEN 16

enum tier { TIER_A = 1, TIER_B = 2, TIER_C = 3 };

/* CONSTRAINT_UNKNOWN stands beside the kernel's 0 to 3 where oom_control was
 * not seen. */
#define CONSTRAINT_UNKNOWN 0xffffffffU

enum record_flags {
	FLAG_SHARED = 1 << 0,	 /* killed since it shares a victim's memory */
	FLAG_OOM_GROUP = 1 << 1, /* memory.oom.group of its cgroup or one above, up to the domain */
	FLAG_NS_INIT = 1 << 2,	 /* process 1 of its PID namespace, not of the node's */
	FLAG_NO_CONTROL = 1 << 3, /* oom_control was not seen: domain, constraint, order, totalpages, points unknown */
	FLAG_EVENT_GUESSED = 1 << 4, /* event taken from trigger and time (tier C) */
	FLAG_NO_RSS = 1 << 5,	 /* the kernel counts RSS in a way not known here, or mm was gone */
	FLAG_CARRIED = 1 << 6,	 /* carried over from the ledger before, by userspace */
};

struct task_key {
	__u32 tgid;
	__u32 pad;
	__u64 start_ticks; /* of the thread group's leader, 1/100 s since boot */
};

struct record {
	__u32 abi;
	__u32 size;
	__u64 boot_ns;
	__u64 seq;
	__u32 index;
	__u32 tid;
	__u32 tgid;
	__u32 uid;
	__u64 start_ticks;
	char comm[COMM_LEN];
	__s32 oom_score_adj;
	__u32 flags;
	__u64 rss_anon;
	__u64 rss_file;
	__u64 rss_shmem;
	__u64 pgtables;
	__u64 total_vm;
	__u64 cgroup;
	__u32 trigger_tid;
	__u32 trigger_tgid;
	char trigger_comm[COMM_LEN];
	__u64 domain;
	__u32 constraint;
	__s32 order;
	__u64 totalpages;
	__s64 points;
	__u32 tier;
	__u32 pad;
};

/* cgroup_entry counts over the cgroup and all below it. */
struct cgroup_entry {
	__u32 turn; /* odd while the fields below are being written */
	__u32 ns_inits;
	__u64 parent; /* ID of the cgroup above, 0 at the root */
	__u64 victims;
	__u64 own;
	__u64 events;
	__u64 last_ns;
	__u64 last_seq;
	__u64 last_domain;
	__u64 last_start_ticks;
	__u32 last_constraint;
	__s32 last_order;
	__u32 last_tgid;
	__u32 last_flags;
	char last_comm[COMM_LEN];
	/* Counted by the ledger before, written by userspace's carry only. */
	__u64 carried_victims;
	__u64 carried_own;
	__u64 carried_events;
};

/* meta[META_ABOUT] is userspace's, meta[META_COUNTS] the programs'. */
enum { META_ABOUT = 0, META_COUNTS = 1 };

struct meta {
	/* about */
	__u32 abi;
	__u32 state;
	__u32 version;
	__u32 tier;
	__u32 hierarchy;
	__u32 pad;
	__u64 since_ns;
	__u64 loaded_ns;
	__u64 previous;
	/* counts */
	__u64 seq;
	__u64 victims;
	__u64 cgroups;
	__u64 marked;
	__u64 not_killed;
	__u64 no_control;
	__u64 lost_ring;
	__u64 lost_task;
	__u64 lost_cgroup;
};

#endif
