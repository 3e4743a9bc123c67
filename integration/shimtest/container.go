//go:build linux

package shimtest

import (
	"context"
	"fmt"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Box is a container with its shim and streams: the short way to run a container.
type Box struct {
	*Bundle
	// Shim is the shim that runs the container.
	Shim *Shim
	// Stdio has the streams of init.
	Stdio *Stdio
	// Pid is the PID of init.
	Pid int
}

// Run creates and starts a container in a shim of its own.
func (n *Node) Run(id string, changes ...func(*specs.Spec)) *Box {
	n.t.Helper()
	b := n.NewBundle(id, changes...)
	ctx, cancel := timeout()
	defer cancel()
	s, err := n.StartShim(ctx, b)
	if err != nil {
		n.t.Fatalf("run %s: %v", id, err)
	}
	box, err := s.run(ctx, b)
	if err != nil {
		n.t.Fatalf("run %s: %v", id, err)
	}
	return box
}

// RunIn creates and starts a further container in the shim of a sandbox.
func (n *Node) RunIn(sandbox *Shim, id string, changes ...func(*specs.Spec)) *Box {
	n.t.Helper()
	b := n.NewBundle(id, append(changes, Sandbox(sandbox.Bundle.ID))...)
	ctx, cancel := timeout()
	defer cancel()
	s, err := n.Join(ctx, b, sandbox)
	if err != nil {
		n.t.Fatalf("run %s: %v", id, err)
	}
	box, err := s.run(ctx, b)
	if err != nil {
		n.t.Fatalf("run %s: %v", id, err)
	}
	return box
}

func (s *Shim) run(ctx context.Context, b *Bundle) (*Box, error) {
	box := &Box{Bundle: b, Shim: s, Stdio: b.NewStdio("init", false)}
	request := b.CreateRequest()
	request.Stdin, request.Stdout, request.Stderr = box.Stdio.Stdin, box.Stdio.Stdout, box.Stdio.Stderr
	if _, err := s.Task().Create(ctx, request); err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	started, err := s.Task().Start(ctx, &task.StartRequest{ID: b.ID})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	box.Pid = int(started.Pid)
	return box, nil
}

// Wait waits for the exit of init.
func (b *Box) Wait(ctx context.Context) (*task.WaitResponse, error) {
	return b.Shim.Task().Wait(ctx, &task.WaitRequest{ID: b.ID})
}

// State asks for the state of init.
func (b *Box) State(ctx context.Context) (*task.StateResponse, error) {
	return b.Shim.Task().State(ctx, &task.StateRequest{ID: b.ID})
}

// Stats asks for the container's metrics.
func (b *Box) Stats(ctx context.Context) (*task.StatsResponse, error) {
	return b.Shim.Task().Stats(ctx, &task.StatsRequest{ID: b.ID})
}

// Kill sends a signal to init.
func (b *Box) Kill(ctx context.Context, signal uint32) error {
	_, err := b.Shim.Task().Kill(ctx, &task.KillRequest{ID: b.ID, Signal: signal})
	return err
}

// Delete deletes the container.
func (b *Box) Delete(ctx context.Context) (*task.DeleteResponse, error) {
	return b.Shim.Task().Delete(ctx, &task.DeleteRequest{ID: b.ID})
}

// Shutdown asks the shim to end. The shim ends unless it has containers.
func (b *Box) Shutdown(ctx context.Context) error {
	_, err := b.Shim.Task().Shutdown(ctx, &task.ShutdownRequest{ID: b.ID})
	return err
}
