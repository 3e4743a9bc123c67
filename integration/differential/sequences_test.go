//go:build linux

package differential

import (
	"fmt"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// exitBeforeDelete is the label of a record in "delete at once".
const exitBeforeDelete = "TaskExit accepted before Delete answered"

// lifecycle are the sequences in which nothing goes wrong.
var lifecycle = []sequence{
	{name: "exit 0", run: func(s *session) { plainExit(s, "0") }},
	{name: "exit 3", run: func(s *session) { plainExit(s, "3") }},
	{name: "state in each phase", run: func(s *session) {
		s.shim("c")
		s.create("c")
		s.state("c", "")
		s.start("c", "")
		s.state("c", "")
		s.pause("c")
		s.state("c", "")
		s.resume("c")
		s.state("c", "")
		s.kill("c", "", unix.SIGKILL)
		s.wait("c", "")
		s.state("c", "")
		s.delete("c", "")
		s.state("c", "")
	}},
	{name: "stop by SIGTERM", run: func(s *session) {
		s.ready("c", shimtest.Args("trap-term", "7"))
		s.kill("c", "", unix.SIGTERM)
		s.wait("c", "")
		s.delete("c", "")
	}},
	{name: "kill all in the host's pid namespace", run: func(s *session) {
		s.running("c", shimtest.HostPID)
		s.exec("c", "e", "sleep", "1000")
		s.start("c", "e")
		s.killAll("c")
		s.wait("c", "e")
		s.wait("c", "")
		s.delete("c", "e")
		s.delete("c", "")
	}},
	{name: "exec", run: func(s *session) {
		s.running("c")
		s.exec("c", "e", "exit", "5")
		s.state("c", "e")
		s.start("c", "e")
		s.wait("c", "e")
		s.state("c", "e")
		s.delete("c", "e")
		s.state("c", "e")
		s.exec("c", "e", "sleep", "1000")
		s.start("c", "e")
		s.state("c", "e")
		s.pids("c")
		s.kill("c", "e", unix.SIGTERM)
		s.wait("c", "e")
		s.kill("c", "e", unix.SIGTERM)
		s.delete("c", "e")
	}},
	{name: "execs end before init", run: func(s *session) {
		s.running("c")
		for _, exec := range []string{"e", "f"} {
			s.exec("c", exec, "sleep", "1000")
			s.start("c", exec)
		}
		s.kill("c", "e", unix.SIGKILL)
		s.wait("c", "e")
		s.kill("c", "", unix.SIGKILL)
		s.wait("c", "f")
		s.wait("c", "")
		s.state("c", "f")
		s.delete("c", "f")
		s.delete("c", "e")
	}},
	{name: "pause", run: func(s *session) {
		s.running("c")
		s.exec("c", "e", "sleep", "1000")
		s.start("c", "e")
		s.pause("c")
		s.state("c", "e")
		s.pids("c")
		s.stats("c")
		s.resume("c")
		s.state("c", "e")
	}},
	{name: "update", run: func(s *session) {
		s.running("c")
		s.stats("c")
		s.update("c", fmt.Sprintf(`{"memory":{"limit":%d}}`, 32<<20))
		s.stats("c")
		s.update("c", `{"pids":{"limit":77}}`)
		s.stats("c")
		s.update("c", `{}`)
		s.stats("c")
	}},
	{name: "pids and stats", run: func(s *session) {
		s.shim("c")
		s.create("c")
		s.pids("c")
		s.stats("c")
		s.start("c", "")
		s.pids("c")
		s.stats("c")
		s.kill("c", "", unix.SIGKILL)
		s.wait("c", "")
		s.pidsAfterExit("c")
		s.statsAfterExit("c")
		s.delete("c", "")
		s.pids("c")
		s.stats("c")
	}},
	{name: "wait while it runs", run: func(s *session) {
		s.running("c")
		answers := make(chan error)
		waiting := s.node.Task()
		for range 2 {
			go func() {
				_, err := waiting.Wait(s.ctx, &task.WaitRequest{ID: "c"})
				answers <- err
			}()
		}
		s.kill("c", "", unix.SIGKILL)
		s.must(<-answers)
		s.must(<-answers)
		s.state("c", "")
		s.wait("c", "")
	}},
	{name: "delete at once", unordered: true, run: func(s *session) {
		s.running("c", shimtest.Args("exit", "4"))
		s.must(s.waitOnly("c", ""))
		s.must(s.deleteOnly("c", ""))
		exit := shimtest.Topic("/tasks/exit")
		s.note(exitBeforeDelete, fmt.Sprint(len(s.node.Events.Select(exit)) == 1))
		_, err := s.node.Events.Wait(s.ctx, exit)
		s.must(err)
		s.awaitDelete("c")
	}},
	{name: "delete created", unordered: true, run: func(s *session) {
		s.shim("c")
		s.create("c")
		s.delete("c", "")
		_, err := s.node.Events.Wait(s.ctx, shimtest.Topic("/tasks/exit"))
		s.must(err)
		s.state("c", "")
	}},
	{name: "kill created", run: func(s *session) {
		s.shim("c")
		s.create("c")
		s.kill("c", "", unix.SIGKILL)
		s.wait("c", "")
		s.state("c", "")
		s.start("c", "")
		s.delete("c", "")
	}},
	{name: "again with the same ID", run: func(s *session) {
		s.exited("c", shimtest.Args("exit", "1"))
		s.delete("c", "")
		s.create("c")
		s.state("c", "")
		s.start("c", "")
		s.wait("c", "")
	}},
	{name: "rootfs mounts", run: func(s *session) {
		b := s.shim("c", shimtest.Args("exit", "0"), func(spec *specs.Spec) { spec.Root.Path = "rootfs" })
		s.createWith("c", func(r *task.CreateTaskRequest) {
			r.Rootfs = []*types.Mount{{Type: "bind", Source: s.node.Rootfs(), Options: []string{"rbind", "rw"}}}
		})
		s.start("c", "")
		s.wait("c", "")
		s.delete("c", "")
		s.note("rootfs after Delete", fmt.Sprintf("%v", entries(b.File("rootfs"))))
	}},
	{name: "sandbox", run: func(s *session) {
		s.running("pod", shimtest.Sandbox("pod"))
		for _, id := range []string{"a", "b"} {
			_, err := s.node.StartGrouped(s.ctx, s.bundle(id, shimtest.Sandbox("pod"), shimtest.Args("exit", "2")))
			s.must(err)
			s.create(id)
			s.start(id, "")
			s.wait(id, "")
		}
		s.delete("a", "")
		s.connect("pod")
		s.connect("a")
		s.connect("b")
		s.shutdown("pod", false)
		s.delete("b", "")
		s.state("pod", "")
	}},
	{name: "connect", run: func(s *session) {
		s.shim("c")
		s.connect("c")
		s.connect("no-such")
		s.connect("")
		s.create("c")
		s.connect("c")
		s.start("c", "")
		s.connect("c")
	}},
	{name: "shutdown", run: func(s *session) {
		s.running("c", shimtest.Args("exit", "0"))
		s.shutdown("c", false)
		s.wait("c", "")
		s.shutdown("c", true)
		s.state("c", "")
		s.delete("c", "")
		s.end("c")
		s.note("left in the bundle", s.bundleFiles("c")...)
	}},
	{name: "shutdown without containers", run: func(s *session) {
		s.shim("c")
		s.end("c")
	}},
}

func plainExit(s *session, code string) {
	s.exited("c", shimtest.Args("exit", code))
	s.state("c", "")
	s.kill("c", "", unix.SIGKILL)
	s.wait("c", "")
	s.delete("c", "")
}
