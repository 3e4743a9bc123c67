//go:build linux

package differential

import (
	"encoding/json"
	"fmt"
	"slices"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/integration/workload"
)

// Every method here makes one task API call and records its answer.

func label(call, id, exec string) string {
	if exec != "" {
		id += "/" + exec
	}
	return fmt.Sprintf("%s(%s)", call, id)
}

func (s *session) create(id string) { s.createWith(id, nil) }

func (s *session) createWith(id string, change func(*task.CreateTaskRequest)) {
	request := s.bundles[id].CreateRequest()
	if change != nil {
		change(request)
	}
	if invoke(s, label("Create", id, ""), s.node.Task().Create, request) == nil {
		s.created = append(s.created, id)
	}
}

func (s *session) createOptions(id string, change func(*options.Options)) {
	s.createWith(id, func(r *task.CreateTaskRequest) { r.Options = s.node.RuncOptions(change) })
}

func (s *session) start(id, exec string) {
	_ = invoke(s, label("Start", id, exec), s.node.Task().Start, &task.StartRequest{ID: id, ExecID: exec})
}

func (s *session) state(id, exec string) {
	_ = invoke(s, label("State", id, exec), s.node.Task().State, &task.StateRequest{ID: id, ExecID: exec})
}

// wait calls Wait, and waits for the TaskExit of that process as well.
func (s *session) wait(id, exec string) {
	s.t.Helper()
	if s.waitOnly(id, exec) == nil {
		s.awaitExit(id, exec)
	}
}

func (s *session) waitOnly(id, exec string) error {
	return invoke(s, label("Wait", id, exec), s.node.Task().Wait, &task.WaitRequest{ID: id, ExecID: exec})
}

func (s *session) kill(id, exec string, signal unix.Signal) {
	request := &task.KillRequest{ID: id, ExecID: exec, Signal: uint32(signal)}
	_ = invoke(s, label("Kill", id, exec)+" "+unix.SignalName(signal), s.node.Task().Kill, request)
}

func (s *session) killAll(id string) {
	request := &task.KillRequest{ID: id, Signal: uint32(unix.SIGKILL), All: true}
	_ = invoke(s, label("Kill", id, "")+" all", s.node.Task().Kill, request)
}

// delete calls Delete, and waits for the TaskDelete as well.
func (s *session) delete(id, exec string) {
	s.t.Helper()
	if s.deleteOnly(id, exec) == nil && exec == "" {
		s.awaitDelete(id)
	}
}

func (s *session) deleteOnly(id, exec string) error {
	err := invoke(s, label("Delete", id, exec), s.node.Task().Delete, &task.DeleteRequest{ID: id, ExecID: exec})
	if err == nil {
		s.deletes[label("Delete", id, exec)]++
	}
	if err == nil && exec == "" {
		s.created = slices.DeleteFunc(s.created, func(other string) bool { return other == id })
	}
	return err
}

func (s *session) exec(id, exec string, args ...string) {
	s.execWith(id, exec, nil, args...)
}

func (s *session) execWith(id, exec string, change func(*task.ExecProcessRequest), args ...string) {
	spec, err := json.Marshal(specs.Process{Args: append([]string{workload.Path}, args...), Cwd: "/"})
	s.must(err)
	request := &task.ExecProcessRequest{ID: id, ExecID: exec, Spec: &anypb.Any{Value: spec}}
	if change != nil {
		change(request)
	}
	_ = invoke(s, label("Exec", id, exec), s.node.Task().Exec, request)
}

func (s *session) pids(id string) {
	_ = invoke(s, label("Pids", id, ""), s.node.Task().Pids, &task.PidsRequest{ID: id})
}

// pidsAfterExit and statsAfterExit have labels of their own: there the shims may differ.
func (s *session) pidsAfterExit(id string) {
	_ = invoke(s, label("Pids", id, "")+" after exit", s.node.Task().Pids, &task.PidsRequest{ID: id})
}

func (s *session) stats(id string) {
	_ = invoke(s, label("Stats", id, ""), s.node.Task().Stats, &task.StatsRequest{ID: id})
}

func (s *session) statsAfterExit(id string) {
	_ = invoke(s, label("Stats", id, "")+" after exit", s.node.Task().Stats, &task.StatsRequest{ID: id})
}

func (s *session) pause(id string) {
	_ = invoke(s, label("Pause", id, ""), s.node.Task().Pause, &task.PauseRequest{ID: id})
}

func (s *session) resume(id string) {
	_ = invoke(s, label("Resume", id, ""), s.node.Task().Resume, &task.ResumeRequest{ID: id})
}

func (s *session) resize(id, exec string) {
	request := &task.ResizePtyRequest{ID: id, ExecID: exec, Width: 100, Height: 30}
	_ = invoke(s, label("ResizePty", id, exec), s.node.Task().ResizePty, request)
}

func (s *session) closeIO(id, exec string) {
	request := &task.CloseIORequest{ID: id, ExecID: exec, Stdin: true}
	_ = invoke(s, label("CloseIO", id, exec), s.node.Task().CloseIO, request)
}

func (s *session) update(id, resources string) {
	request := &task.UpdateTaskRequest{ID: id, Resources: &anypb.Any{
		TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
		Value:   []byte(resources),
	}}
	_ = invoke(s, label("Update", id, ""), s.node.Task().Update, request)
}

func (s *session) checkpoint(id string) {
	request := &task.CheckpointTaskRequest{ID: id, Path: s.node.Dir + "/checkpoint"}
	_ = invoke(s, label("Checkpoint", id, ""), s.node.Task().Checkpoint, request)
}

func (s *session) connect(id string) {
	_ = invoke(s, label("Connect", id, ""), s.node.Task().Connect, &task.ConnectRequest{ID: id})
}

// end calls Shutdown. The answer is not recorded: the connection may be closed before the
// answer is sent.
func (s *session) end(id string) {
	_, _ = s.node.Task().Shutdown(s.ctx, &task.ShutdownRequest{ID: id})
	s.note("shim ends", fmt.Sprint(s.node.Shim().WaitExit(s.ctx)))
}

func (s *session) shutdown(id string, now bool) {
	_ = invoke(s, label("Shutdown", id, ""), s.node.Task().Shutdown, &task.ShutdownRequest{ID: id, Now: now})
}

// deleteDead waits for an event of the topic, kills the shim, and records the answer of the
// delete command.
func (s *session) deleteDead(id, topic string) {
	s.t.Helper()
	if topic != "" {
		_, err := s.node.Events.Wait(s.ctx, shimtest.All(shimtest.Topic(topic), shimtest.Container(id)))
		s.must(err)
	}
	s.must(s.node.Shim().Kill(s.ctx))
	response, stderr, err := s.node.DeleteDead(s.ctx, s.bundles[id])
	s.created = nil
	s.records = append(s.records, record{call: label("delete", id, ""), answer: s.answer(response, err)})
	if stderr = withoutVerdict(stderr); stderr != "" {
		s.note(label("delete", id, "")+" stderr", stderr)
	}
}

// startCommand records the outcome of the shim binary's start command.
func (s *session) startCommand(b *shimtest.Bundle) {
	_, err := s.node.StartShim(s.ctx, b)
	s.note(label("start", b.ID, ""), fmt.Sprintf("error = %v", err))
}
