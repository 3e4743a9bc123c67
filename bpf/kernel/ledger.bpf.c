// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The kernel's own record of every OOM kill. What the hooks may rely on, from
 * mm/oom_kill.c of 5.10 to 7.2:
 *
 *   oom_kill_process(oc)             once for an event, under oom_lock
 *     __oom_kill_process(victim)     for each member of a group, twice for the first
 *       signal_generate(SIGKILL)     the victim, under its siglock: not reaped yet
 *       mark_victim                  first time only
 *       signal_generate(SIGKILL)     each other process with the same mm
 *
 * A victim is written down at signal_generate, so that whoever reaps it finds
 * it, and once: by_task refuses the second time. Tier C knows neither function:
 * there a victim is a SIGKILL and then a mark from the same task, since a mark
 * alone is also given to tasks that were dying already. So it is in tiers A and
 * B where the program of a function did not run: the kernel leaves a kprobe's
 * out while another one is on the same CPU.
 *
 * Everything is preallocated and nothing waits: this is the OOM path.
 */
#include "memory.h"
#include "record.h"
#include "sender.h"

char __license[] SEC("license") = "Dual BSD/GPL";

/* Tiers A and B. */

static __always_inline int on_event(struct oom_control *oc)
{
	__u64 current = bpf_get_current_pid_tgid();
	struct flight *f = flight_of(current);

	if (!f)
		return 0;
	blank_event(f, current);
	f->memcg = (__u64)READ(oc, memcg);
	f->domain = domain_id((void *)f->memcg);
	f->constraint = READ(oc, constraint);
	f->order = READ(oc, order);
	f->totalpages = READ(oc, totalpages);
	f->points = READ(oc, chosen_points);
	f->flags = 0;
	return 0;
}

static __always_inline int on_kill(struct task_struct *victim)
{
	__u64 current = bpf_get_current_pid_tgid();
	struct flight *f = flight_of(current);

	if (!f)
		return 0;
	if (f->owner != current)
		blank_event(f, current); /* attached in the middle of the event */
	else if (!(f->flags & FLAG_NO_CONTROL))
		write_memory(f, (void *)f->memcg, 0);
	f->victim = READ(victim, tgid);
	return 0;
}

static __always_inline int on_killed(void)
{
	__u64 current = bpf_get_current_pid_tgid();
	struct flight *f = flight_of(current);

	if (f && f->owner == current)
		f->victim = 0;
	return 0;
}

SEC("fentry/oom_kill_process")
int event_fentry(struct args *ctx)
{
	return on_event((void *)ctx->arg[0]);
}

SEC("fentry/__oom_kill_process")
int kill_fentry(struct args *ctx)
{
	return on_kill((void *)ctx->arg[0]);
}

SEC("fexit/__oom_kill_process")
int kill_fexit(void *ctx)
{
	(void)ctx;
	return on_killed();
}

SEC("fentry/oom_evaluate_task")
int candidate_fentry(struct args *ctx)
{
	return on_candidate((void *)ctx->arg[0], (void *)ctx->arg[1]);
}

SEC("kprobe/oom_evaluate_task")
int candidate_kprobe(struct pt_regs *ctx)
{
	return on_candidate(FIRST_ARG(ctx), SECOND_ARG(ctx));
}

SEC("kprobe/oom_kill_process")
int event_kprobe(struct pt_regs *ctx)
{
	return on_event(FIRST_ARG(ctx));
}

SEC("kprobe/__oom_kill_process")
int kill_kprobe(struct pt_regs *ctx)
{
	return on_kill(FIRST_ARG(ctx));
}

SEC("kretprobe/__oom_kill_process")
int kill_kretprobe(void *ctx)
{
	(void)ctx;
	return on_killed();
}

/* All tiers. */

/* Whether a task shares its memory with the last one marked. While that one's
 * oom_mm is in place the address can't be of another mm. */
static __always_inline int shares(const struct sent *s, struct task_struct *task)
{
	struct task_struct *marked = (void *)s->marked;
	struct signal_struct *signal;

	if (!s->mm || s->mm != (__u64)READ(task, mm) || s->marked_tgid == (__u32)READ(task, tgid))
		return 0;
	if (s->marked_tgid != (__u32)READ(marked, tgid))
		return 0;
	signal = READ(marked, signal);
	return signal && (__u64)READ(signal, oom_mm) == s->mm;
}

/* Remembers a SIGKILL until its mark comes, or knows it for that of a process
 * that shares the memory of the last one marked. */
static __always_inline void sent_or_shared(struct flight *f, __u64 current, struct task_struct *task, int dying)
{
	struct sent *s = &f->sent;

	if (s->owner != current)
		__builtin_memset(s, 0, sizeof(*s));
	s->owner = current;
	if (f->owner == current && shares(s, task)) {
		write_down(f, task, dying ? FLAG_SHARED | FLAG_DYING : FLAG_SHARED);
		return;
	}
	s->task = (__u64)task;
	s->tid = READ(task, pid);
	s->dying = dying;
	s->ns = bpf_ktime_get_boot_ns();
	if (!dying)
		write_sender(task, SENDER_KERNEL);
}

SEC("raw_tp/signal_generate")
int signal_generate(struct args *ctx)
{
	struct task_struct *task = (void *)ctx->arg[2];
	int dying = ctx->arg[4] != TRACE_SIGNAL_DELIVERED;
	__u64 current;
	struct flight *f;
	__u32 flags;

	if ((int)ctx->arg[0] != SIGKILL)
		return 0;
	if (ctx->arg[1] != SEND_SIG_PRIV) {
		if (!dying)
			write_sender(task, 0);
		return 0;
	}
	current = bpf_get_current_pid_tgid();
	f = flight_of(current);
	if (!f)
		return 0;
	if (f->owner == current && f->victim) {
		flags = dying ? FLAG_DYING : 0;
		write_down(f, task, f->victim == (__u32)READ(task, tgid) ? flags : flags | FLAG_SHARED);
	} else {
		sent_or_shared(f, current, task, dying);
	}
	return 0;
}

/* The kills of a group are one event, known by trigger and time. */
static __always_inline void marked_after_sent(struct flight *f, __u64 current)
{
	struct sent *s = &f->sent;
	struct task_struct *task = (void *)s->task;
	__u64 now = bpf_ktime_get_boot_ns();

	if (f->owner != current || !s->marked_ns || now - s->marked_ns > SECOND_NS || !oom_group(task, 0)) {
		blank_event(f, current);
		f->flags |= FLAG_EVENT_GUESSED;
		write_memory(f, (void *)memory_css(task), MEMORY_OWN);
	}
	s->task = 0;
	s->marked_ns = now;
	s->mm = (__u64)READ(task, mm);
	s->marked = (__u64)task;
	s->marked_tgid = READ(task, tgid);
	if (!s->dying)
		withdraw_sender(task);
	write_down(f, task, s->dying ? FLAG_DYING : 0);
}

static __always_inline int on_mark(__u32 tid)
{
	__u64 current = bpf_get_current_pid_tgid();
	struct flight *f = flight_of(current);
	struct meta *m = counts();

	if (!f || !m)
		return 0;
	__sync_fetch_and_add(&m->marked, 1);
	if (f->owner == current && f->victim)
		return 0; /* written down when it was sent */
	if (f->sent.owner == current && f->sent.task && f->sent.tid == tid &&
	    bpf_ktime_get_boot_ns() - f->sent.ns < SECOND_NS)
		marked_after_sent(f, current);
	else
		__sync_fetch_and_add(&m->not_killed, 1);
	return 0;
}

/* The two shapes of mark_victim's arguments. The loader takes the one that the
 * kernel's BTF says. */

SEC("raw_tp/mark_victim")
int mark_victim_pid(struct args *ctx)
{
	return on_mark(ctx->arg[0]);
}

SEC("raw_tp/mark_victim")
int mark_victim_task(struct args *ctx)
{
	struct task_struct *task = (void *)ctx->arg[0];

	return on_mark(READ(task, pid));
}

/* Never attached: userspace runs it to hand a cgroup's counts over to a new
 * ledger that is counting already. Arguments: cgroup ID, victims, own, events, made.
 * Returns 1 where the cgroup has no entry yet. Running it again changes nothing. */
SEC("raw_tp/carry")
int carry(struct args *ctx)
{
	__u64 id = ctx->arg[0];
	struct cgroup_entry *e = bpf_map_lookup_elem(&by_cgroup, &id);

	if (!e)
		return 1;
	e->carried_victims = ctx->arg[1];
	e->carried_own = ctx->arg[2];
	e->carried_events = ctx->arg[3];
	e->made = ctx->arg[4];
	return 0;
}
