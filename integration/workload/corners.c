//go:build ignore

// The modes of rare cases of the OOM killer. See workload.go.
#include "common.h"

#include <pthread.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

// own_cgroup writes this process's cgroup v2 directory into path.
static void own_cgroup(char *path, size_t size)
{
	char line[4096];
	FILE *file = fopen("/proc/self/cgroup", "re");

	if (!file)
		die("open /proc/self/cgroup");
	while (fgets(line, sizeof line, file)) {
		if (strncmp(line, "0::", 3))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(path, size, "/sys/fs/cgroup%s", strcmp(line + 3, "/") ? line + 3 : "");
		fclose(file);
		return;
	}
	errno = ENOENT;
	die("no cgroup v2 line in /proc/self/cgroup");
}

static void make_dir(char *path, size_t size, const char *parent, const char *name)
{
	snprintf(path, size, "%s/%s", parent, name);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		die("mkdir %s", path);
}

static void write_in(const char *dir, const char *name, const char *text)
{
	char path[8192];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	write_file(path, text);
}

// nested_in makes a limited cgroup in the container's own, and returns the
// directory. On cgroup v1 runc mounts the container's own cgroup at
// /sys/fs/cgroup/memory.
static void nested_in(char *dir, size_t size, unsigned long mib)
{
	char own[4200], limit[32];

	snprintf(limit, sizeof limit, "%lu", mib * MIB);
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0) {
		own_cgroup(own, sizeof own);
		make_dir(dir, size, own, "leaf");
		write_in(dir, "cgroup.procs", "0");
		write_in(own, "cgroup.subtree_control", "+memory");
		make_dir(dir, size, own, "nested");
		write_in(dir, "memory.max", limit);
	} else {
		make_dir(dir, size, "/sys/fs/cgroup/memory", "nested");
		write_in(dir, "memory.limit_in_bytes", limit);
	}
}

int nested(int argc, char **argv)
{
	char dir[4300], procs[8192];

	nested_in(dir, sizeof dir, number(argc, argv, 2, 16));
	snprintf(procs, sizeof procs, "%s/cgroup.procs", dir);
	wait_killed(spawn_hog(procs));
	return (int)number(argc, argv, 3, 1);
}

// group_of forks a process that joins the cgroup, makes the group there, and
// hogs.
static void group_of(const char *dir, unsigned long size)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return;
	write_in(dir, "cgroup.procs", "0");
	for (unsigned long i = 1; i < size; i++) {
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0)
			wait_for_signals();
	}
	touch_mib(0);
	_exit(BROKEN);
}

// reap_killed waits for all children. SIGKILL must have ended each of them. The members
// of a group become children of init when their parent is gone.
static void reap_killed(void)
{
	int status;

	for (;;) {
		if (waitpid(-1, &status, 0) < 0) {
			if (errno == ECHILD)
				return;
			die("waitpid");
		}
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
			errno = 0;
			die("member ended with wait status %#x", status);
		}
	}
}

int groups(int argc, char **argv)
{
	unsigned long rounds = number(argc, argv, 2, 1), size = number(argc, argv, 3, 5);
	char dir[4300];

	// A hundred members take most of 32 MiB before the hog does, and the last
	// round's memory may not be freed yet.
	nested_in(dir, sizeof dir, 56);
	write_in(dir, "memory.oom.group", "1");
	for (unsigned long i = 0; i < rounds; i++) {
		group_of(dir, size);
		reap_killed();
	}
	return (int)number(argc, argv, 4, 1);
}

static char sharer_stack[64 * 1024] __attribute__((aligned(16)));

static int hogging_sharer(void *unused)
{
	(void)unused;
	write_file("/proc/self/oom_score_adj", "1000");
	touch_mib(0);
	return BROKEN;
}

// sharer_init has a child that shares init's memory: whichever of the two the kernel
// chooses, the kernel kills the other as well and counts it nowhere.
int sharer_init(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (clone(hogging_sharer, sharer_stack + sizeof sharer_stack, CLONE_VM | SIGCHLD, NULL) < 0)
		die("clone");
	wait_for_signals();
	return 0;
}

static int shared[2]; // a pipe, by which the sharer reports that it runs

// waiting_sharer starts the hog. As long as vfork holds its parent, the sharer has an
// oom_score_adj of its own, so that the kernel chooses the hog.
static int waiting_sharer(void *unused)
{
	(void)unused;
	write_file("/proc/self/oom_score_adj", "0");
	if (write(shared[1], "", 1) != 1)
		_exit(BROKEN);
	wait_for_signals();
	return 0;
}

static void *hog_thread(void *unused)
{
	char byte;

	(void)unused;
	if (read(shared[0], &byte, 1) != 1)
		_exit(BROKEN);
	touch_mib(0);
	return NULL;
}

static void victim_with_sharer(void)
{
	pthread_t thread;

	write_file("/proc/self/oom_score_adj", "1000");
	if (pipe(shared) < 0 || pthread_create(&thread, NULL, hog_thread, NULL))
		die("pipe or thread");
	// With CLONE_PARENT init can wait for the sharer without knowing its PID.
	clone(waiting_sharer, sharer_stack + sizeof sharer_stack,
	      CLONE_VM | CLONE_VFORK | CLONE_PARENT | SIGCHLD, NULL);
	die("clone");
}

// sharer_child waits for a process that the kernel kills because the process shares the
// memory of the chosen process: no counter counts it.
int sharer_child(int argc, char **argv)
{
	pid_t victim = fork(), ended;
	int status;

	if (victim < 0)
		die("fork");
	if (victim == 0)
		victim_with_sharer();
	do
		ended = waitpid(-1, &status, 0);
	while (ended == victim && WIFSIGNALED(status));
	if (ended < 0 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("sharer ended with wait status %#x", status);
	return (int)number(argc, argv, 2, 1);
}

// state returns the letter in /proc/PID/stat, 0 if there is no such process.
static char state(long pid)
{
	char path[64], line[512], *end;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%ld/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return end && end[1] ? end[2] : 0;
}

static void *hog_alone(void *unused)
{
	(void)unused;
	while (state(getpid()) != 'Z')
		sleep_ms(1);
	touch_mib(0);
	return NULL;
}

// leaderless hogs in a thread, after the first thread has ended.
int leaderless(int argc, char **argv)
{
	pthread_t thread;

	(void)argc;
	(void)argv;
	if (pthread_create(&thread, NULL, hog_alone, NULL))
		die("pthread_create");
	syscall(SYS_exit, 0); // of this thread alone
	return BROKEN;
}

// dying_child holds memory and is killed. It is stopped on the way to its end, when its
// memory is not freed yet.
static pid_t dying_child(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		write_file("/proc/self/oom_score_adj", "1000");
		touch_mib(8);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(BROKEN);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT) < 0 || kill(pid, SIGKILL) < 0)
		die("trace the child");
	if (waitpid(pid, &status, __WALL) != pid || status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8))
		die("the dying child did not stop: wait status %#x", status);
	return pid;
}

// dying reaches the limit when the process to be chosen is dying already: the
// kernel marks that process, kills nothing and goes on.
int dying(int argc, char **argv)
{
	pid_t victim = dying_child(), other = fork();
	int status;

	if (other < 0)
		die("fork");
	if (other == 0) {
		touch_mib(number(argc, argv, 3, 18));
		_exit(0);
	}
	if (waitpid(other, &status, 0) != other || status != 0)
		die("the other ended with wait status %#x", status);
	if (ptrace(PTRACE_CONT, victim, NULL, NULL) < 0)
		die("let the child go");
	wait_killed(victim);
	return (int)number(argc, argv, 2, 1);
}

// storm has children killed one after the other. Then it exits with a status, or stays
// if the argument is "wait".
int storm(int argc, char **argv)
{
	unsigned long count = number(argc, argv, 2, 200);

	for (unsigned long i = 0; i < count; i++)
		wait_killed(spawn_hog(NULL));
	if (argc > 3 && !strcmp(argv[3], "wait")) {
		wait_for_signals();
		return 0;
	}
	return (int)number(argc, argv, 3, 1);
}

// bind_node hogs the memory of one NUMA node. Without libnuma no function sets
// the memory policy, so it makes the system call.
int bind_node(int argc, char **argv)
{
	const int bind = 2; // MPOL_BIND
	unsigned long nodes = 1UL << number(argc, argv, 2, 1);

	if (syscall(SYS_set_mempolicy, bind, &nodes, 8 * sizeof nodes) < 0)
		die("set_mempolicy");
	gulp_mib(0);
	return BROKEN;
}

int gulp(int argc, char **argv)
{
	gulp_mib(number(argc, argv, 2, 0));
	say("ready\n");
	wait_for_signals();
	return 0;
}

// fill_until takes memory until the process is gone, and holds it.
int fill_until(int argc, char **argv)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	long pid = (long)number(argc, argv, 2, 0);
	char now, *at = room(1UL << 36);

	while ((now = state(pid)) && now != 'Z')
		for (size_t end = 0; end < MIB; end += page, at += page)
			*(volatile uint64_t *)at = (uintptr_t)at;
	say("ready\n");
	wait_for_signals();
	return 0;
}
