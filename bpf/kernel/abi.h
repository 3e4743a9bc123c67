/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the pinned maps hold: the ledger's ABI. Go's side is ../abi.go, and
 * TestLayout compares the two. Any change here is a new ABI number there, but for
 * a field in the place of padding, which is 0 from older programs.
 * A later ABI may only append to the structs of by_task, by_cgroup, inits and meta;
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
	FLAG_LINEAGE_CUT = 1 << 7, /* has more ancestors than are in the record */
	FLAG_DYING = 1 << 8,	 /* another signal, or its own exit, was ending it already */
};

#define MAX_ANCESTORS 12 /* of a victim that are recorded */
#define MAX_BEFORE 3	 /* cgroups, the victim's and above, whose victim before is recorded */

struct task_key {
	__u32 tgid;
	__u32 pad;
	__u64 start_ticks; /* of the thread group's leader, 1/100 s since boot */
};

/* task_ref is a task_key in half the room: the lower half of start_ticks begins again
 * after 497 days, and no PID is used again in the same tick by then. */
struct task_ref {
	__u32 tgid;
	__u32 start_low;
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
	__u32 session; /* its PID in the node's PID namespace; 0 from programs before version 2 */
	/* From ABI 2 on. */
	__u64 swap;
	struct task_ref ancestors[MAX_ANCESTORS]; /* the parent first */
	__u32 depth;	/* of ancestors that are set */
	__u32 ns_inits; /* bit i: ancestors[i] is process 1 of a PID namespace, not of the node's */
	/* The newest victim before this one in its cgroup, in the one above, and so on. */
	struct task_ref before[MAX_BEFORE];
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
	/* From ABI 2 on: meta.cgroups when the entry was made. */
	__u64 made;
};

enum sender_flags {
	SENDER_WATCHED = 1 << 0, /* the entry was made by userspace, before any signal */
	SENDER_KERNEL = 1 << 1,	 /* sent by the kernel itself, in the task that is named */
	SENDER_OUTSIDE = 1 << 2, /* the task is not in the node's PID namespace */
};

/* sender is who sent a container's init its SIGKILL, the OOM killer apart. */
struct sender {
	__u64 boot_ns; /* 0 while nobody has */
	__u64 start_ticks;
	__u64 cgroup;
	__u32 tgid;
	__u32 uid;
	char comm[COMM_LEN];
	__u32 flags;
	__u32 pad;
	/* From ABI 3 on. */
	__u64 init_cgroup; /* of the init, at the signal */
};

enum memory_known {
	MEMORY_USAGE = 1 << 0,	    /* usage and limit */
	MEMORY_SWAP = 1 << 1,
	MEMORY_KINDS = 1 << 2,	    /* anon, file, shmem, slab, stacks */
	MEMORY_KERNEL = 1 << 3,	    /* kernel is the kernel's own sum, not that of the parts */
	MEMORY_PGTABLES = 1 << 4,
	MEMORY_SOCKETS = 1 << 5,
	MEMORY_CANDIDATES = 1 << 6, /* the scan for a victim was seen */
	MEMORY_OWN = 1 << 7,	    /* of the victim's own cgroup, where oom_control was not seen */
};

struct candidate {
	__u32 tgid;
	__s32 oom_score_adj;
	__u64 rss;  /* pages */
	__u64 swap; /* pages */
	char comm[COMM_LEN];
};

#define MAX_CANDIDATES 8

/* event_memory is what filled the memory at an OOM event, in bytes. */
struct event_memory {
	__u64 seq; /* of the event; 0 while the rest is being written */
	__u64 cgroup; /* 0 for the node */
	__u32 known;
	__u32 scanned; /* of list that are set */
	__u64 usage;
	__u64 limit; /* 0 for none */
	__u64 swap;
	__u64 anon;
	__u64 file; /* with shmem, as the kernel counts */
	__u64 shmem;
	__u64 kernel;
	__u64 slab;
	__u64 stacks;
	__u64 pgtables;
	__u64 sockets;
	struct candidate list[MAX_CANDIDATES]; /* the largest, in no order */
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
	__u32 pid_ns; /* inode of the node's PID namespace; 0 in ABI 1, where it was the first */
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
	/* From ABI 2 on. */
	__u64 lost_sender;
	__u64 outside;
};

#endif
