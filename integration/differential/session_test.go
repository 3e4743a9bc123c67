//go:build linux

package differential

import (
	"context"
	"fmt"
	"strings"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// record is one call and its answer, with names in the place of values.
type record struct {
	call   string
	answer []string
}

// session is one sequence of calls on one shim.
type session struct {
	t       *testing.T
	ctx     context.Context
	node    *shimtest.Node
	names   *names
	bundles map[string]*shimtest.Bundle
	created []string       // containers that were created and not deleted
	deletes map[string]int // how often each label was deleted
	records []record
}

func newSession(t *testing.T, cfg shimtest.Config) *session {
	ctx, cancel := context.WithTimeout(t.Context(), shimtest.Patience)
	t.Cleanup(cancel)
	node := shimtest.Start(t, cfg)
	return &session{
		t: t, ctx: ctx, node: node,
		bundles: map[string]*shimtest.Bundle{},
		deletes: map[string]int{},
		names: newNames(map[string]string{
			node.Dir: "<dir>", node.Name(): "<node>", cfg.Shim: "<shim>", shimtest.Runc(t): "<runc>",
			"io.containerd.runc.v2": "<runtime>", "io.containerd.oomwitness.v2": "<runtime>",
		}),
	}
}

// note records something other than an answer.
func (s *session) note(call string, answer ...string) {
	for i := range answer {
		answer[i] = s.names.text(answer[i])
	}
	s.records = append(s.records, record{call: call, answer: answer})
}

// must ends the sequence if the harness itself fails.
func (s *session) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) bundle(id string, changes ...func(*specs.Spec)) *shimtest.Bundle {
	s.bundles[id] = s.node.NewBundle(id, changes...)
	return s.bundles[id]
}

// shim starts the shim for a bundle with the given spec.
func (s *session) shim(id string, changes ...func(*specs.Spec)) *shimtest.Bundle {
	s.t.Helper()
	b := s.bundle(id, changes...)
	_, err := s.node.StartShim(s.ctx, b)
	s.must(err)
	return b
}

// running starts a container in a shim of its own.
func (s *session) running(id string, changes ...func(*specs.Spec)) *shimtest.Bundle {
	s.t.Helper()
	b := s.shim(id, changes...)
	s.create(id)
	s.start(id, "")
	return b
}

// ready starts a container, and waits until its workload has printed "ready".
func (s *session) ready(id string, changes ...func(*specs.Spec)) {
	s.t.Helper()
	b := s.shim(id, changes...)
	stdio := b.NewStdio("init", false)
	s.createWith(id, func(r *task.CreateTaskRequest) {
		r.Stdin, r.Stdout, r.Stderr = stdio.Stdin, stdio.Stdout, stdio.Stderr
	})
	s.start(id, "")
	s.must(stdio.WaitOutput(s.ctx, "ready"))
}

// exited starts a container and waits for its end.
func (s *session) exited(id string, changes ...func(*specs.Spec)) {
	s.t.Helper()
	s.running(id, changes...)
	s.wait(id, "")
}

// invoke makes one call and records it.
func invoke[Q, A proto.Message](s *session, call string, method func(context.Context, Q) (A, error), request Q) error {
	answer, err := method(s.ctx, request)
	s.records = append(s.records, record{call: call, answer: s.answer(answer, err)})
	return err
}

func (s *session) answer(answer proto.Message, err error) []string {
	if err != nil {
		st, _ := status.FromError(err)
		return []string{"code = " + st.Code().String(), "message = " + s.names.text(st.Message())}
	}
	if stats, ok := answer.(*task.StatsResponse); ok {
		return append([]string{"ok"}, s.names.metrics(stats)...)
	}
	return append([]string{"ok"}, s.names.message(answer)...)
}

// awaitExit waits until the TaskExit of a process was accepted: of the process that has the ID
// now, not of an earlier one. Before that, the stock shim may still send the event after those
// of the next call.
func (s *session) awaitExit(id, exec string) {
	s.t.Helper()
	nth := s.deletes[label("Delete", id, exec)] + 1
	if exec == "" {
		exec = id
	}
	_, err := s.node.Events.WaitN(s.ctx, func(e *shimtest.Event) bool {
		exit, ok := e.Message.(*eventsapi.TaskExit)
		return ok && exit.ContainerID == id && exit.ID == exec
	}, nth)
	s.must(err)
}

// awaitDelete waits for the TaskDelete of the last Delete.
func (s *session) awaitDelete(id string) {
	s.t.Helper()
	deleted := shimtest.All(shimtest.Topic("/tasks/delete"), shimtest.Container(id))
	_, err := s.node.Events.WaitN(s.ctx, deleted, s.deletes[label("Delete", id, "")])
	s.must(err)
}

// finish deletes the containers that the sequence has left. Then all events are in: TaskDelete
// is the last event of a container.
func (s *session) finish() {
	s.t.Helper()
	api := s.node.Task
	for _, id := range s.created {
		_, _ = api().Resume(s.ctx, &task.ResumeRequest{ID: id})
		_, _ = api().Kill(s.ctx, &task.KillRequest{ID: id, Signal: uint32(unix.SIGKILL), All: true})
		_, err := api().Wait(s.ctx, &task.WaitRequest{ID: id})
		s.must(err)
		s.awaitExit(id, "")
		_, err = api().Delete(s.ctx, &task.DeleteRequest{ID: id})
		s.must(err)
		s.deletes[label("Delete", id, "")]++
		s.awaitDelete(id)
	}
}

// events returns the accepted events of each container, with names in the place of values.
func (s *session) events() map[string][]string {
	events := map[string][]string{}
	for _, event := range s.node.Events.All() {
		lines := []string{fmt.Sprintf("namespace = %s", event.Envelope.GetNamespace())}
		if m, ok := event.Message.(proto.Message); ok {
			lines = append(lines, s.names.message(m)...)
		}
		text := event.Topic + " " + strings.Join(lines, ", ")
		events[event.ContainerID] = append(events[event.ContainerID], text)
	}
	return events
}
