package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// lockPause is the time between two tries to get the lock.
const lockPause = 100 * time.Millisecond

// locked runs one change of the node: no other install runs at the same time, and what an
// error leaves half done is undone.
func (o Options) locked(ctx context.Context, change func(Options, context.Context, *Result) error) (Result, error) {
	var result Result
	unlock, err := o.lock(ctx)
	if err != nil {
		return result, err
	}
	defer unlock()
	if !o.DryRun {
		o, _ = o.Locate(ctx) // what is wrong is said by the change
		o.sweep()
	}
	o.changes = &changes{}
	result.changes = o.changes
	defer o.changes.keep()
	if err := change(o, ctx, &result); err != nil {
		if _, missing := errors.AsType[*MissingError](err); missing {
			return result, err
		}
		return result, errors.Join(err, o.changes.undo(&result))
	}
	return result, nil
}

// lock waits until no other install works in the root. A wait for the kernel could not be
// interrupted.
func (o Options) lock(ctx context.Context) (unlock func(), err error) {
	if o.DryRun {
		return func() {}, nil
	}
	dir, err := os.Open(o.Root.Path("/"))
	if err != nil {
		return nil, fmt.Errorf("--root: %w", err)
	}
	unlock = func() {
		// A child that another goroutine just forked has a copy of the descriptor until its
		// execve, and with the copy it would keep the lock.
		_ = unix.Flock(int(dir.Fd()), unix.LOCK_UN)
		_ = dir.Close()
	}
	busy := false
	err = wait.PollUntilContextCancel(ctx, lockPause, true, func(context.Context) (bool, error) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		busy = errors.Is(err, unix.EWOULDBLOCK)
		if busy {
			return false, nil
		}
		return err == nil, err
	})
	if err == nil {
		err = ctx.Err() // too late to begin
	}
	if err != nil && busy {
		err = fmt.Errorf("another install or uninstall works there: %w", err)
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	return unlock, nil
}
