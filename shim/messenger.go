//go:build linux

package shim

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
	"google.golang.org/protobuf/proto"
)

// Where shim and containerd are both dead, the containerd that starts next runs
// this binary with delete, and takes no events until that has ended. So a TaskOOM
// that is due then is left to a process of its own, the messenger, in this order:
//
//  1. delete decides the verdict, and finds that nobody takes events;
//  2. it starts the messenger, answers and ends;
//  3. containerd goes on, CRI subscribes, and the events endpoint begins to
//     listen; the messenger hands the TaskOOM over;
//  4. where CRI was later than the endpoint, it has not heard. It has a while
//     later, when the messenger publishes once more. CRI takes that calmly.
const (
	messengerVerb = "tell"
	// messengerBound is how long containerd may take to start. One that takes
	// longer has other troubles.
	messengerBound = 5 * time.Minute
	// listeningAfter is when CRI has subscribed for sure: that is the first thing it
	// does (internal/cri/server/service.go, Run).
	listeningAfter = 10 * time.Second
	// maxEnvelope bounds a message, in bytes: some 200 are usual, and the least
	// pipe that the kernel makes holds 4096.
	maxEnvelope = 4096
)

// IsMessenger says whether the command line is a messenger's, and not one of
// containerd's, which begins with a flag.
func IsMessenger(args []string) bool { return len(args) == 2 && args[1] == messengerVerb }

// RunMessenger is the whole life of a messenger: it reads a TaskOOM from its
// standard input and hands it to containerd, at the address that containerd gives
// its shims in the environment.
func RunMessenger(ctx context.Context) error {
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxEnvelope))
	if err != nil {
		return err
	}
	env, err := parseMessage(data)
	if err != nil {
		return err
	}
	return carry(ctx, NewWire(os.Getenv(ttrpcAddressEnv)), env)
}

// parseMessage reads what a messenger is given.
func parseMessage(data []byte) (*types.Envelope, error) {
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

// carry publishes an event as soon as containerd takes it, and once more when
// its CRI listens.
func carry(ctx context.Context, fwd Forwarder, env *types.Envelope) error {
	ctx, cancel := context.WithTimeout(ctx, messengerBound)
	defer cancel()
	q := newQueue(ctx, fwd, newTally())
	for _, pause := range []time.Duration{0, listeningAfter} {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		it := &item{env: env, taken: make(chan struct{})}
		q.push("", it)
		select {
		case <-it.taken:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), q.close())
		}
	}
	return q.close()
}

// sendMessenger starts a messenger, which outlives this process.
func sendMessenger(env *types.Envelope) error {
	data, err := proto.Marshal(env)
	if err == nil && len(data) > maxEnvelope {
		err = fmt.Errorf("message of %d bytes, allowed: %d", len(data), maxEnvelope)
	}
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	// That much fits into a pipe that nobody reads yet.
	_, err = write.Write(data)
	if err = errors.Join(err, write.Close()); err != nil {
		return err
	}
	//nolint:noctx // it is to outlive whatever is going on here
	cmd := exec.Command(program, messengerVerb)
	// Not containerd's pipes: it waits for their end. Not the bundle, which goes.
	cmd.Stdin, cmd.Dir = read, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
