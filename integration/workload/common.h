// What all modes of the workload stand on. See workload.go.
#ifndef OOMWITNESS_WORKLOAD_H
#define OOMWITNESS_WORKLOAD_H

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

static volatile sig_atomic_t term_status __attribute__((unused));

static inline void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(BROKEN);
}

static inline void say(const char *line)
{
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		die("write %s", line);
}

static inline void on_term(int signal)
{
	(void)signal;
	_exit(term_status);
}

// exit_on_term makes SIGTERM end the process: for PID 1 of a namespace the
// kernel drops a signal that has no handler.
static inline void exit_on_term(int status)
{
	struct sigaction action = { .sa_handler = on_term };

	term_status = status;
	sigaction(SIGTERM, &action, NULL);
}

static inline void wait_for_signals(void)
{
	for (;;)
		pause();
}

static inline void sleep_ms(unsigned long ms)
{
	struct timespec left = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		die("open %s", path);
	if (write(fd, text, strlen(text)) < 0)
		die("write %s to %s", text, path);
	close(fd);
}

// touch_mib maps count MiB (0: without end), each page with its own content.
static inline void touch_mib(unsigned long count)
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

// room is address space without memory. The kernel may fill it by huge pages,
// which is many times as fast.
static inline char *room(size_t size)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	madvise(at, size, MADV_HUGEPAGE); // where there are none it takes longer
	return at;
}

// gulp_mib is touch_mib in room.
static inline void gulp_mib(unsigned long count)
{
	size_t size = (count ? count : 1UL << 16) * MIB;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *at = room(size);

	for (size_t i = 0; i < size; i += page)
		*(volatile uint64_t *)(at + i) = i;
}

// spawn_hog forks a child that hogs memory and volunteers as the victim. It
// first joins the cgroup whose cgroup.procs is given, if any.
static inline pid_t spawn_hog(const char *procs)
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
	gulp_mib(0);
	_exit(BROKEN);
}

// wait_killed waits until pid was ended by SIGKILL, and reaps all others.
static inline void wait_killed(pid_t pid)
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

static inline unsigned long number(int argc, char **argv, int at, unsigned long otherwise)
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

// The modes of corners.c.
int nested(int argc, char **argv);
int groups(int argc, char **argv);
int sharer_init(int argc, char **argv);
int sharer_child(int argc, char **argv);
int leaderless(int argc, char **argv);
int dying(int argc, char **argv);
int storm(int argc, char **argv);
int bind_node(int argc, char **argv);
int fill_until(int argc, char **argv);
int gulp(int argc, char **argv);

// The mode of ending.c.
int ending(int argc, char **argv);

// The modes of shapes.c.
int shape(int argc, char **argv);
int left(int argc, char **argv);

#endif
