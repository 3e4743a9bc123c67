//go:build linux

package differential

import (
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// echoed is what a terminal shows for a line that cat reads: the terminal's echo, and cat's
// copy.
const echoed = "hello\r\nhello\r\n"

// streams are the sequences with standard streams.
var streams = []sequence{
	{name: "attach", run: func(s *session) {
		b := s.shim("c", shimtest.Args("cat"))
		stdio := b.NewStdio("init", false)
		s.createWith("c", func(r *task.CreateTaskRequest) {
			r.Stdin, r.Stdout, r.Stderr = stdio.Stdin, stdio.Stdout, stdio.Stderr
		})
		s.start("c", "")
		s.state("c", "")
		s.resize("c", "")
		s.must(stdio.Write("hello\n"))
		s.must(stdio.WaitOutput(s.ctx, "hello\n"))
		s.must(stdio.CloseStdin())
		s.closeIO("c", "")
		s.wait("c", "")
		s.must(stdio.WaitEOF(s.ctx))
		s.note("output", stdio.Output(), stdio.ErrorOutput())
		s.closeIO("c", "")
		s.delete("c", "")
	}},
	{name: "attach with a terminal", run: func(s *session) {
		b := s.shim("c", shimtest.Args("cat"), shimtest.Terminal)
		stdio := b.NewStdio("init", true)
		s.createWith("c", func(r *task.CreateTaskRequest) {
			r.Terminal, r.Stdin, r.Stdout = true, stdio.Stdin, stdio.Stdout
		})
		s.start("c", "")
		s.state("c", "")
		s.resize("c", "")
		s.must(stdio.Write("hello\n"))
		s.must(stdio.WaitOutput(s.ctx, echoed))
		s.must(stdio.Write("\x04"))
		s.wait("c", "")
		s.must(stdio.WaitEOF(s.ctx))
		s.note("output", stdio.Output())
		s.resize("c", "")
		s.delete("c", "")
	}},
	{name: "attach exec", run: func(s *session) {
		b := s.running("c")
		stdio := b.NewStdio("exec", false)
		s.execWith("c", "e", func(r *task.ExecProcessRequest) {
			r.Stdin, r.Stdout, r.Stderr = stdio.Stdin, stdio.Stdout, stdio.Stderr
		}, "cat")
		s.state("c", "e")
		s.start("c", "e")
		s.must(stdio.Write("hello\n"))
		s.must(stdio.WaitOutput(s.ctx, "hello\n"))
		s.must(stdio.CloseStdin())
		s.closeIO("c", "e")
		s.wait("c", "e")
		s.note("output", stdio.Output(), stdio.ErrorOutput())
		s.delete("c", "e")
	}},
	{name: "attach exec with a terminal", run: func(s *session) {
		b := s.running("c")
		stdio := b.NewStdio("exec", true)
		s.execWith("c", "e", func(r *task.ExecProcessRequest) {
			r.Terminal, r.Stdin, r.Stdout = true, stdio.Stdin, stdio.Stdout
		}, "cat")
		s.resize("c", "e")
		s.start("c", "e")
		s.resize("c", "e")
		s.must(stdio.Write("hello\n"))
		s.must(stdio.WaitOutput(s.ctx, echoed))
		s.kill("c", "e", unix.SIGKILL)
		s.wait("c", "e")
		s.resize("c", "e")
		s.delete("c", "e")
	}},
	{name: "stdout to a file", run: func(s *session) {
		b := s.shim("c", shimtest.Args("trap-term", "0"))
		s.createWith("c", func(r *task.CreateTaskRequest) {
			// Set stdout and stderr: with one alone upstream's shim panics at times.
			r.Stdout = "file://" + b.File("output")
			r.Stderr = r.Stdout
		})
		s.start("c", "")
		s.state("c", "")
	}},
	{name: "stdout of an unknown scheme", run: func(s *session) {
		s.shim("c")
		s.createWith("c", func(r *task.CreateTaskRequest) { r.Stdout = "carrier-pigeon:///coop" })
	}},
}
