//go:build linux

package deadshim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/runtime"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

// A TaskOOM that containerd has not acked is left to a process of its own, the deferred
// publisher. It begins when the delete that has started it ends, however that ends, in this
// order where shim and containerd are both dead:
//
//  1. the containerd that starts next runs this binary with delete, and accepts no events
//     until that has ended;
//  2. delete decides the verdict, finds that nobody accepts events, starts the deferred
//     publisher, removes the container, answers and ends. Where the removal takes longer
//     than the 5 s that containerd gives, containerd kills delete;
//  3. containerd goes on, CRI subscribes, and the events endpoint begins to
//     listen; the deferred publisher hands the TaskOOM over;
//  4. if CRI subscribed after the endpoint began to listen, CRI has missed the
//     TaskOOM. The deferred publisher republishes the TaskOOM a while later. A second
//     TaskOOM changes nothing for CRI.
const (
	deferredVerb = "publish"
	// deferredTimeout is how long containerd may take to start. One that takes
	// longer has other troubles.
	deferredTimeout = 5 * time.Minute
	// subscribedAfter is when CRI has subscribed for sure: that is the first thing it
	// does (internal/cri/server/service.go, Run).
	subscribedAfter = 10 * time.Second
	// maxEnvelope bounds a message, in bytes: some 200 are usual, and the least
	// pipe that the kernel makes holds 4096.
	maxEnvelope = 4096
)

// IsPublisher reports whether the command line is that of a deferred publisher, and not
// one of containerd's, which begins with a flag.
func IsPublisher(args []string) bool { return len(args) == 2 && args[1] == deferredVerb }

// RunPublisher is the whole work of a deferred publisher: it reads a TaskOOM from its
// standard input and publishes the TaskOOM by client. count counts an occurrence by its
// name.
func RunPublisher(ctx context.Context, client delivery.Client, count func(string) uint64) error {
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxEnvelope))
	if err != nil {
		return err
	}
	env, err := parseDeferred(data)
	if err != nil {
		return err
	}
	return publishTwice(ctx, delivery.NewQueue(ctx, client, count), env)
}

// parseDeferred reads what a deferred publisher is given.
func parseDeferred(data []byte) (*types.Envelope, error) {
	env := &types.Envelope{}
	if err := proto.Unmarshal(data, env); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if env.Topic != runtime.TaskOOMEventTopic || env.Namespace == "" || env.Event == nil {
		return nil, fmt.Errorf("message with topic %q in namespace %q; allowed: %q in some namespace",
			env.Topic, env.Namespace, runtime.TaskOOMEventTopic)
	}
	return env, nil
}

// publishTwice publishes an event as soon as containerd accepts it, and republishes the
// event when CRI has subscribed.
func publishTwice(ctx context.Context, q *delivery.Queue, env *types.Envelope) error {
	ctx, cancel := context.WithTimeout(ctx, deferredTimeout)
	defer cancel()
	for _, pause := range []time.Duration{0, subscribedAfter} {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		it := &delivery.Item{Envelope: env, Done: make(chan error, 1)}
		q.Push("", it)
		select {
		case err := <-it.Done:
			if err != nil {
				return errors.Join(err, q.Close())
			}
		case <-ctx.Done():
			return errors.Join(ctx.Err(), q.Close())
		}
	}
	return q.Close()
}

// StartPublisher starts a deferred publisher, which outlives this process: it begins when this
// process has ended. stop ends the deferred publisher before.
func StartPublisher(env *types.Envelope) (stop func(), err error) {
	data, err := proto.Marshal(env)
	if err == nil && len(data) > maxEnvelope {
		err = fmt.Errorf("message of %d bytes, allowed: %d", len(data), maxEnvelope)
	}
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	read := os.NewFile(uintptr(pipe[0]), "message")
	defer read.Close()
	//nolint:noctx // it is to outlive whatever is going on here
	cmd := exec.Command(program, deferredVerb)
	// Not containerd's pipes: it waits for their end. Not the bundle, which goes.
	cmd.Stdin, cmd.Dir = read, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// That much fits into a pipe that nobody reads yet.
	if _, err = unix.Write(pipe[1], data); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(pipe[1]))
	}
	// The end of the pipe stays open until the kernel closes it with this process: that is
	// the sign to begin.
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = unix.Close(pipe[1])
	}, nil
}
