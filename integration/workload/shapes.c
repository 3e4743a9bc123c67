//go:build ignore

// The places in the tree of processes from which one hogs. See workload.go.
#include "common.h"

#include <sched.h>
#include <sys/prctl.h>

#define KILLED (128 + SIGKILL)

static void hog_here(void)
{
	write_file("/proc/self/oom_score_adj", "1000");
	gulp_mib(0);
	_exit(BROKEN);
}

static pid_t forked(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	return pid;
}

// reap_hog waits until a child was killed, or passes on that its own was. It reaps all
// others, which must end well.
static void reap_hog(void)
{
	for (;;) {
		int status;

		if (waitpid(-1, &status, 0) < 0)
			die("waitpid");
		if (WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == KILLED)
			return;
		errno = 0;
		if (status)
			die("a process ended with wait status %#x", status);
	}
}

// pass_on waits for a child's kill, and ends as a shell does.
static void pass_on(void)
{
	reap_hog();
	_exit(KILLED);
}

static void chain(unsigned long depth)
{
	for (; depth > 1; depth--)
		if (forked())
			pass_on();
	hog_here();
}

// orphan has a child that hogs when its parent has ended.
static void orphan(unsigned long unused)
{
	pid_t parent = getpid();

	(void)unused;
	if (forked())
		_exit(0);
	while (getppid() == parent)
		sleep_ms(1);
	hog_here();
}

// daemon_of_its_own is an orphan in a session of its own.
static void daemon_of_its_own(unsigned long unused)
{
	if (forked())
		_exit(0);
	if (setsid() < 0)
		die("setsid");
	orphan(unused);
}

static void subreaper(unsigned long unused)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("prctl");
	if (forked() == 0)
		orphan(unused);
	pass_on();
}

static void session(unsigned long unused)
{
	(void)unused;
	if (setsid() < 0)
		die("setsid");
	hog_here();
}

static void thread(unsigned long unused)
{
	(void)unused;
	write_file("/proc/self/oom_score_adj", "1000");
	leaderless(0, NULL);
}

// vforked shares its memory with the parent, which waits: the kernel kills both.
static void vforked(unsigned long unused)
{
	(void)unused;
	if (vfork() == 0)
		hog_here();
	die("vfork");
}

// pid_namespace has a child that hogs as the process 1 of a PID namespace of its own.
static void pid_namespace(unsigned long unused)
{
	(void)unused;
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
		die("unshare");
	if (forked() == 0)
		hog_here();
	pass_on();
}

static const struct {
	const char *name;
	void (*run)(unsigned long argument);
} shapes[] = {
	{ "chain", chain },
	{ "orphan", orphan },
	{ "daemon", daemon_of_its_own },
	{ "subreaper", subreaper },
	{ "session", session },
	{ "thread", thread },
	{ "vfork", vforked },
	{ "pid-namespace", pid_namespace },
};

static void run_shape(int argc, char **argv, int argument)
{
	for (size_t i = 0; argc > 2 && i < sizeof shapes / sizeof shapes[0]; i++)
		if (!strcmp(argv[2], shapes[i].name))
			shapes[i].run(number(argc, argv, argument, 2));
	errno = EINVAL;
	die("shape");
}

int shape(int argc, char **argv)
{
	if (forked() == 0)
		run_shape(argc, argv, 4);
	reap_hog();
	return (int)number(argc, argv, 3, 1);
}

// left runs a shape without waiting for what that leaves.
int left(int argc, char **argv)
{
	run_shape(argc, argv, 3);
	return BROKEN;
}
