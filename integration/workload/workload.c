//go:build ignore

// workload is the init process of the test containers: one static binary with a mode
// for each way to meet the OOM killer. See workload.go.
#include "common.h"

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

// wait_term prints that the process is ready, and returns at SIGTERM.
static void wait_term(void)
{
	sigset_t term;
	int signal;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	say("ready\n");
	sigwait(&term, &signal);
}

// term_hog hogs at SIGTERM, so that a test can do something before.
static int term_hog(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	wait_term();
	touch_mib(0);
	return BROKEN;
}

static int trap_term(int argc, char **argv)
{
	exit_on_term((int)number(argc, argv, 2, 0));
	say("ready\n");
	wait_for_signals();
	return 0;
}

// child_oom_trap ends by itself at whatever an image may have as its stop signal.
static int child_oom_trap(int argc, char **argv)
{
	const int stops[] = { SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGRTMIN + 3 };
	struct sigaction action = { .sa_handler = on_term };

	term_status = (sig_atomic_t)number(argc, argv, 2, 1);
	for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++)
		sigaction(stops[i], &action, NULL);
	wait_killed(spawn_hog(NULL));
	say("child died\n");
	wait_for_signals();
	return 0;
}

// term_child_oom needs more memory for its stop than the limit permits.
static int term_child_oom(int argc, char **argv)
{
	for (unsigned long before = number(argc, argv, 3, 0); before > 0; before--)
		wait_killed(spawn_hog(NULL));
	wait_term();
	wait_killed(spawn_hog(NULL));
	return (int)number(argc, argv, 2, 1);
}

// fill writes a file of count MiB (0: until that fails), and holds it: on tmpfs its pages
// are memory.
static int fill(int argc, char **argv)
{
	static char chunk[MIB];
	unsigned long count = number(argc, argv, 3, 0);
	int fd = argc > 2 ? open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;

	if (fd < 0)
		die("open the file to fill");
	exit_on_term(0);
	for (unsigned long done = 0; count == 0 || done < count; done++)
		if (write(fd, chunk, sizeof chunk) < 0) {
			if (count > 0)
				die("fill the file");
			break;
		}
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
	{ "groups", groups },
	{ "sharer-init", sharer_init },
	{ "sharer-child", sharer_child },
	{ "leaderless", leaderless },
	{ "dying", dying },
	{ "ending", ending },
	{ "storm", storm },
	{ "bind-node", bind_node },
	{ "fill-until", fill_until },
	{ "gulp", gulp },
	{ "term-hog", term_hog },
	{ "trap-term", trap_term },
	{ "child-oom-trap", child_oom_trap },
	{ "term-child-oom", term_child_oom },
	{ "fill", fill },
	{ "cat", cat },
	{ "shape", shape },
	{ "left", left },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof modes[0]; i++)
		if (!strcmp(argv[1], modes[i].name))
			return modes[i].run(argc, argv);
	fprintf(stderr, "workload: no such mode\n");
	return BROKEN;
}
