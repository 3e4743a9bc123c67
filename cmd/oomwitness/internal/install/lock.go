package install

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// locked runs one change of the node: no other install runs at the same time, and what an
// error leaves half done is undone.
func (o Options) locked(ctx context.Context, change func(Options, context.Context, *Result) error) (Result, error) {
	var result Result
	unlock, err := o.lock()
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

// lock waits until no other install works in the root.
func (o Options) lock() (unlock func(), err error) {
	if o.DryRun {
		return func() {}, nil
	}
	dir, err := os.Open(o.Root.Path("/"))
	if err != nil {
		return nil, fmt.Errorf("--root: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir.Name(), err), dir.Close())
	}
	return func() { _ = dir.Close() }, nil
}
