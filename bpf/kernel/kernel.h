/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the ledger needs of the kernel and of BPF, written by hand: only the
 * fields that are read, found at load time by name (CO-RE), so that nothing
 * here is of one kernel. A name after ___ is a flavour: the same kernel type as
 * other releases have it.
 */
#ifndef OOMWITNESS_KERNEL_H
#define OOMWITNESS_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef _Bool bool;

#define NULL ((void *)0)

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

/* include/uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_NOEXIST = 1 };

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*bpf_get_current_comm)(void *buf, __u32 size) = (void *)16;
static __u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_probe_read_kernel)(void *dst, __u32 size, const void *src) = (void *)113;
static __u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)130;

/* READ returns a field of a kernel object, 0 where it can't be read. */
#define READ(ptr, field)                                                   \
	({                                                                 \
		typeof((ptr)->field) value_ = 0;                           \
		bpf_probe_read_kernel(&value_, sizeof(value_), &(ptr)->field); \
		value_;                                                    \
	})

/* enum bpf_field_info_kind and bpf_enum_value_kind of libbpf. */
#define FIELD_OFFSET(type, field) __builtin_preserve_field_info(((type *)0)->field, 0)
#define FIELD_EXISTS(type, field) __builtin_preserve_field_info(((type *)0)->field, 2)
#define TYPE_SIZE(type) __builtin_preserve_type_info(*(type *)0, 1)
#define ENUM_EXISTS(type, name) __builtin_preserve_enum_value(*(typeof(type) *)name, 0)
#define ENUM_VALUE(type, name) __builtin_preserve_enum_value(*(typeof(type) *)name, 1)

#define KERNEL __attribute__((preserve_access_index))

/* mm/oom_kill.c, include/linux/oom.h */
enum oom_constraint { CONSTRAINT_NONE };

struct mem_cgroup;

struct task_struct;

struct oom_control {
	struct mem_cgroup *memcg;
	struct task_struct *chosen;
	int order;
	unsigned long totalpages;
	long chosen_points;
	enum oom_constraint constraint;
} KERNEL;

/* include/linux/cgroup-defs.h; the subsystems' numbers depend on the build. */
enum cgroup_subsys_id { memory_cgrp_id };

struct kernfs_node {
	__u64 id;
} KERNEL;

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} KERNEL;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
} KERNEL;

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
} KERNEL;


/* include/linux/pid.h, include/linux/pid_namespace.h, include/linux/ns_common.h */
struct ns_common {
	unsigned int inum;
} KERNEL;

struct pid_namespace {
	struct ns_common ns;
} KERNEL;

struct upid {
	int nr;
	struct pid_namespace *ns;
} KERNEL;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} KERNEL;

/* include/linux/mm_types.h; the counters' order is that of MM_FILEPAGES,
 * MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES, the same in all releases. */
typedef struct {
	__s64 counter;
} KERNEL atomic64_t;
typedef atomic64_t atomic_long_t;

struct percpu_counter {
	__s64 count;
} KERNEL;

/* include/linux/page_counter.h */
struct page_counter {
	atomic_long_t usage;
	unsigned long max;
} KERNEL;

/* mm/memcontrol.c; before 6.1 include/linux/memcontrol.h. How long state is depends on
 * the kernel: see stat_of. */
struct memcg_vmstats {
	long state[1];
} KERNEL;

/* include/linux/memcontrol.h; css is its first member. */
struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	struct page_counter swap;  /* v2 */
	struct page_counter memsw; /* v1 */
	struct page_counter kmem;  /* v1 */
	bool oom_group;
	struct memcg_vmstats *vmstats;
} KERNEL;

/* From 5.13 on, before 6.1. */
struct mem_cgroup___embedded {
	struct memcg_vmstats vmstats;
} KERNEL;

/* Before 5.13. */
struct mem_cgroup___atomic {
	atomic_long_t vmstats[1];
} KERNEL;

/* include/linux/mmzone.h, include/linux/memcontrol.h; the numbers depend on the build. */
enum node_stat_item {
	NR_INACTIVE_ANON,
	NR_SLAB_RECLAIMABLE_B,
	NR_SLAB_UNRECLAIMABLE_B,
	NR_ANON_MAPPED,
	NR_FILE_PAGES,
	NR_SHMEM,
	NR_KERNEL_STACK_KB,
	NR_PAGETABLE, /* of a node from 5.11 on */
};

enum zone_stat_item { NR_FREE_PAGES };

enum memcg_stat_item {
	MEMCG_SOCK = 100,
	MEMCG_PERCPU_B,
	MEMCG_KMEM, /* from 5.18 on */
};

struct mm_struct {
	struct percpu_counter rss_stat[4];
	atomic_long_t pgtables_bytes;
	unsigned long total_vm;
} KERNEL;

/* Before 6.2. */
struct mm_rss_stat___atomic {
	atomic_long_t count[4];
} KERNEL;

struct mm_struct___atomic {
	struct mm_rss_stat___atomic rss_stat;
} KERNEL;

typedef struct {
	unsigned int val;
} KERNEL kuid_t;

struct cred {
	kuid_t uid;
} KERNEL;

/* oom_mm is set by mark_oom_victim, and keeps the mm from being used again. pids are in
 * the order of enum pid_type (include/linux/pid.h), the session last. */
struct signal_struct {
	short oom_score_adj;
	struct mm_struct *oom_mm;
	struct pid *pids[4];
} KERNEL;

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	__u64 start_boottime;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct mm_struct *mm;
	struct css_set *cgroups;
	struct signal_struct *signal;
	struct cred *real_cred;
	struct pid *thread_pid;
} KERNEL;

/* Arguments of raw tracepoints, and of functions for fentry and fexit. */
struct args {
	__u64 arg[6];
};

/* The arguments of a function at its kprobe. The layouts are user ABI:
 * arch/x86/include/uapi/asm/ptrace.h, arch/arm64/include/uapi/asm/ptrace.h. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
};
#define FIRST_ARG(ctx) ((void *)(ctx)->di)
#define SECOND_ARG(ctx) ((void *)(ctx)->si)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	unsigned long regs[31];
};
#define FIRST_ARG(ctx) ((void *)(ctx)->regs[0])
#define SECOND_ARG(ctx) ((void *)(ctx)->regs[1])
#else
#error "only amd64 and arm64 are known"
#endif

#endif
