//go:build linux

package differential

import (
	"os/exec"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// wrongs are calls with wrong IDs, wrong arguments or in a wrong order. One is missing: if an
// exec is started twice, upstream's shim panics at the exit of init (makechan: size out of
// range, in handleInitExit).
var wrongs = []sequence{
	{name: "no container", run: func(s *session) {
		s.shim("c")
		everyCall(s, "c", "")
	}},
	{name: "wrong container", run: func(s *session) {
		s.running("c")
		everyCall(s, "no-such", "")
		everyCall(s, "", "")
		s.state("c", "")
	}},
	{name: "wrong exec", run: func(s *session) {
		s.running("c")
		for _, exec := range []string{"no-such", "c"} {
			s.start("c", exec)
			s.state("c", exec)
			s.kill("c", exec, unix.SIGKILL)
			s.wait("c", exec)
			s.resize("c", exec)
			s.closeIO("c", exec)
			s.delete("c", exec)
		}
		s.state("c", "")
	}},
	{name: "every call when created", run: func(s *session) {
		s.shim("c")
		s.create("c")
		s.resume("c")
		s.pause("c")
		s.resize("c", "")
		s.closeIO("c", "")
		s.checkpoint("c")
		s.update("c", `{"memory":{"limit":33554432}}`)
		s.exec("c", "e", "exit", "0")
		s.state("c", "e")
		s.state("c", "")
	}},
	{name: "every call when stopped", run: func(s *session) {
		// A call kills init here: if init exits by itself before its Start ends, the stock
		// shim's Start of an exec does not know of the exit.
		s.running("c")
		s.kill("c", "", unix.SIGKILL)
		s.wait("c", "")
		everyCallButDelete(s, "c")
		s.pidsAfterExit("c")
		s.statsAfterExit("c")
		s.state("c", "")
		s.delete("c", "")
	}},
	{name: "every call when deleted", run: func(s *session) {
		s.exited("c", shimtest.Args("exit", "2"))
		s.delete("c", "")
		everyCall(s, "c", "")
	}},
	{name: "start twice", run: func(s *session) {
		s.running("c")
		s.start("c", "")
		s.state("c", "")
	}},
	{name: "create twice", run: func(s *session) {
		s.running("c")
		_ = invoke(s, label("Create", "c", ""), s.node.Task().Create, s.bundles["c"].CreateRequest())
		s.state("c", "")
		s.pids("c")
	}},
	{name: "delete twice", run: func(s *session) {
		s.exited("c", shimtest.Args("exit", "0"))
		s.delete("c", "")
		s.delete("c", "")
	}},
	{name: "delete running", run: func(s *session) {
		s.running("c")
		s.exec("c", "e", "sleep", "1000")
		s.delete("c", "")
		s.start("c", "e")
		s.delete("c", "e")
		s.delete("c", "")
		s.state("c", "")
		s.state("c", "e")
	}},
	{name: "pause twice", run: func(s *session) {
		s.running("c")
		s.resume("c")
		s.pause("c")
		s.pause("c")
		s.start("c", "")
		s.delete("c", "")
		s.exec("c", "e", "exit", "0")
		s.resume("c")
		s.resume("c")
	}},
	{name: "exec out of order", run: func(s *session) {
		s.running("c")
		s.exec("c", "e", "sleep", "1000")
		s.kill("c", "e", unix.SIGKILL)
		s.exec("c", "e", "sleep", "1000")
		s.start("c", "e")
		s.exec("c", "e", "sleep", "1000")
		s.kill("c", "", unix.SIGKILL)
		s.wait("c", "")
		s.start("c", "e")
		s.exec("c", "f", "exit", "0")
		s.start("c", "f")
		s.delete("c", "e")
		s.delete("c", "e")
	}},
	{name: "exec deleted before it starts", run: func(s *session) {
		s.running("c")
		s.exec("c", "e", "exit", "0")
		s.delete("c", "e")
		s.start("c", "e")
		s.state("c", "e")
	}},
	{name: "exec of a missing executable", run: func(s *session) {
		s.running("c")
		s.execWith("c", "e", func(r *task.ExecProcessRequest) {
			r.Spec = &anypb.Any{Value: []byte(`{"args":["/missing"],"cwd":"/"}`)}
		})
		s.start("c", "e")
		s.state("c", "e")
		_ = s.waitOnly("c", "e") // answers at once, and no TaskExit comes
		s.delete("c", "e")
	}},
	{name: "exec with a bad spec", run: func(s *session) {
		s.running("c")
		s.execWith("c", "e", func(r *task.ExecProcessRequest) { r.Spec = &anypb.Any{Value: []byte("not JSON")} })
		s.exec("c", "e", "exit", "0")
	}},
	{name: "bad signal", run: func(s *session) {
		s.running("c")
		s.kill("c", "", unix.Signal(99))
		s.state("c", "")
	}},
	{name: "bad updates", run: func(s *session) {
		s.running("c")
		s.update("c", "not JSON")
		s.update("c", `{"memory":{"limit":"much"}}`)
		s.update("c", "")
		s.stats("c")
	}},
	{name: "checkpoint without criu", run: func(s *session) {
		if _, err := exec.LookPath("criu"); err == nil {
			s.t.Skip("criu is there")
		}
		s.running("c")
		s.checkpoint("c")
		s.state("c", "")
	}},
}

// everyCall makes every call except Create and Connect.
func everyCall(s *session, id, exec string) {
	everyCallButDelete(s, id)
	s.state(id, exec)
	s.pids(id)
	s.stats(id)
	s.delete(id, exec)
}

func everyCallButDelete(s *session, id string) {
	s.start(id, "")
	s.pause(id)
	s.resume(id)
	s.checkpoint(id)
	s.kill(id, "", unix.SIGKILL)
	s.kill(id, "", unix.SIGTERM)
	s.killAll(id)
	s.exec(id, "e", "exit", "0")
	s.start(id, "e")
	s.resize(id, "")
	s.closeIO(id, "")
	s.update(id, `{"memory":{"limit":33554432}}`)
	s.wait(id, "")
}
