//go:build ignore

// workload is the init process of the test containers: one static binary
// that can be all of the things that meet the OOM killer. See workload.go.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024UL * 1024UL)
#define BROKEN 99 // the workload itself failed: never a result under test

static volatile sig_atomic_t term_status;

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(BROKEN);
}

static void say(const char *line)
{
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		die("write %s", line);
}

static void on_term(int signal)
{
	(void)signal;
	_exit(term_status);
}

// exit_on_term makes SIGTERM end the process: for PID 1 of a namespace the
// kernel drops a signal that has no handler.
static void exit_on_term(int status)
{
	struct sigaction action = { .sa_handler = on_term };

	term_status = status;
	sigaction(SIGTERM, &action, NULL);
}

static void wait_for_signals(void)
{
	for (;;)
		pause();
}

static void sleep_ms(unsigned long ms)
{
	struct timespec left = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		die("open %s", path);
	if (write(fd, text, strlen(text)) < 0)
		die("write %s to %s", text, path);
	close(fd);
}

// touch_mib maps count MiB (0: without end), each page with its own content.
static void touch_mib(unsigned long count)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t serial = (uint64_t)getpid() << 40;

	for (unsigned long done = 0; count == 0 || done < count; done++) {
		char *chunk = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (chunk == MAP_FAILED)
			die("mmap");
		for (size_t at = 0; at < MIB; at += page)
			*(volatile uint64_t *)(chunk + at) = ++serial;
	}
}

// spawn_hog forks a child that hogs memory and volunteers as the victim. It
// first joins the cgroup whose cgroup.procs is given, if any.
static pid_t spawn_hog(const char *procs)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	signal(SIGTERM, SIG_DFL);
	write_file("/proc/self/oom_score_adj", "1000");
	if (procs)
		write_file(procs, "0");
	touch_mib(0);
	_exit(BROKEN);
}

// wait_killed waits until pid was ended by SIGKILL, and reaps all others.
static void wait_killed(pid_t pid)
{
	for (;;) {
		int status;
		pid_t ended = waitpid(-1, &status, 0);

		if (ended < 0 && errno == EINTR)
			continue;
		if (ended < 0)
			die("waitpid");
		if (ended != pid)
			continue;
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			return;
		errno = 0;
		die("hog ended with wait status %#x", status);
	}
}

static unsigned long number(int argc, char **argv, int at, unsigned long otherwise)
{
	char *end;
	unsigned long value;

	if (argc <= at)
		return otherwise;
	value = strtoul(argv[at], &end, 10);
	if (*end || end == argv[at]) {
		errno = EINVAL;
		die("argument %d, \"%s\"", at, argv[at]);
	}
	return value;
}

static int hog(int argc, char **argv)
{
	exit_on_term(143);
	touch_mib(number(argc, argv, 2, 0));
	if (argc > 3)
		close(open(argv[3], O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	say("ready\n");
	wait_for_signals();
	return 0;
}

static int run_sleep(int argc, char **argv)
{
	sleep_ms(1000 * number(argc, argv, 2, 1));
	return 0;
}

static int run_exit(int argc, char **argv)
{
	return (int)number(argc, argv, 2, 0);
}

static int exit_after(int argc, char **argv)
{
	sleep_ms(1000 * number(argc, argv, 2, 1));
	return (int)number(argc, argv, 3, 0);
}

static int child_oom_exit(int argc, char **argv)
{
	wait_killed(spawn_hog(NULL));
	sleep_ms(number(argc, argv, 3, 0));
	return (int)number(argc, argv, 2, 1);
}

static int child_oom_sleep(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	exit_on_term(143);
	wait_killed(spawn_hog(NULL));
	say("child died\n");
	wait_for_signals();
	return 0;
}

static int child_oom_pause(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	signal(SIGTERM, SIG_IGN);
	wait_killed(spawn_hog(NULL));
	say("child died\n");
	wait_for_signals();
	return 0;
}

static int multi(int argc, char **argv)
{
	unsigned long children = number(argc, argv, 2, 3);

	exit_on_term(143);
	for (unsigned long i = 0; i < children; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0)
			wait_for_signals();
	}
	wait_killed(spawn_hog(NULL));
	say("child died\n");
	wait_for_signals();
	return 0;
}

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

// nested limits a cgroup of its own making. On cgroup v1 runc mounts the
// container's own cgroup at /sys/fs/cgroup/memory.
static int nested(int argc, char **argv)
{
	char own[4200], dir[4300], procs[8192], limit[32];
	int v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;

	snprintf(limit, sizeof limit, "%lu", number(argc, argv, 2, 16) * MIB);
	if (v2) {
		own_cgroup(own, sizeof own);
		make_dir(dir, sizeof dir, own, "leaf");
		write_in(dir, "cgroup.procs", "0");
		write_in(own, "cgroup.subtree_control", "+memory");
		make_dir(dir, sizeof dir, own, "nested");
		write_in(dir, "memory.max", limit);
	} else {
		make_dir(dir, sizeof dir, "/sys/fs/cgroup/memory", "nested");
		write_in(dir, "memory.limit_in_bytes", limit);
	}
	snprintf(procs, sizeof procs, "%s/cgroup.procs", dir);
	wait_killed(spawn_hog(procs));
	return (int)number(argc, argv, 3, 1);
}

static int trap_term(int argc, char **argv)
{
	exit_on_term((int)number(argc, argv, 2, 0));
	say("ready\n");
	wait_for_signals();
	return 0;
}

static int cat(int argc, char **argv)
{
	char buffer[4096];
	ssize_t got;

	(void)argc;
	(void)argv;
	while ((got = read(STDIN_FILENO, buffer, sizeof buffer)) > 0) {
		for (ssize_t at = 0, put; at < got; at += put)
			if ((put = write(STDOUT_FILENO, buffer + at, (size_t)(got - at))) < 0)
				die("write");
	}
	if (got < 0 && errno != EIO) // EIO: the terminal's other end was closed
		die("read");
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} modes[] = {
	{ "hog", hog },
	{ "sleep", run_sleep },
	{ "exit", run_exit },
	{ "exit-after", exit_after },
	{ "child-oom-exit", child_oom_exit },
	{ "child-oom-sleep", child_oom_sleep },
	{ "child-oom-pause", child_oom_pause },
	{ "multi", multi },
	{ "nested", nested },
	{ "trap-term", trap_term },
	{ "cat", cat },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof modes[0]; i++)
		if (!strcmp(argv[1], modes[i].name))
			return modes[i].run(argc, argv);
	fprintf(stderr, "workload: no such mode\n");
	return BROKEN;
}
