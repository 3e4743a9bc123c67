//go:build ignore

// The mode of an init that the OOM killer takes when it is ending. See workload.go.
#include "common.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>

// hog_at_end hogs when process 1 is on its way to its end, and stops there.
static void hog_at_end(int traced)
{
	const int at_exit = SIGTRAP | PTRACE_EVENT_EXIT << 8;
	int status = 0;

	write_file("/proc/self/oom_score_adj", "1000");
	if (ptrace(PTRACE_SEIZE, 1, NULL, PTRACE_O_TRACEEXIT) < 0 || write(traced, "", 1) != 1)
		die("trace process 1");
	while (status >> 8 != at_exit)
		if (waitpid(1, &status, __WALL) != 1)
			die("wait for process 1");
	touch_mib(0);
}

// ending exits, and stops on the way since it is traced. The kernel kills the tracer, and
// with memory.oom.group init too, whose SIGKILL is dropped: init has its own status.
int ending(int argc, char **argv)
{
	int traced[2];
	pid_t pid;
	char byte;

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); // where Yama is, a child may not trace its parent
	if (pipe(traced) < 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		hog_at_end(traced[1]);
	if (read(traced[0], &byte, 1) != 1)
		die("wait for the tracer");
	return (int)number(argc, argv, 2, 1);
}
