//go:build linux

package differential

import (
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// ooms are exits with an OOM kill. The project changes their TaskOOM; everything else must be
// equal.
var ooms = []sequence{
	{name: "OOM kill", oom: oneOOM, run: func(s *session) { oomExit(s, "hog") }},
	{name: "OOM kill of a child, exit 7", oom: oneOOM, run: func(s *session) { oomExit(s, "child-oom-exit", "7") }},
	{name: "OOM kill of a child, exit 0", run: func(s *session) { oomExit(s, "child-oom-exit", "0") }},
	{name: "OOM kill of a child, stopped", run: func(s *session) {
		b := s.shim("c", shimtest.Args("child-oom-sleep"))
		stdio := b.NewStdio("init", false)
		s.createWith("c", func(r *task.CreateTaskRequest) { r.Stdout = stdio.Stdout; r.Stderr = stdio.Stderr })
		s.start("c", "")
		s.must(stdio.WaitOutput(s.ctx, "child died"))
		s.kill("c", "", unix.SIGTERM)
		s.wait("c", "")
		s.delete("c", "")
	}},
}

func oomExit(s *session, args ...string) {
	s.exited("c", shimtest.Args(args...))
	s.state("c", "")
	s.statsAfterExit("c")
	s.delete("c", "")
}
