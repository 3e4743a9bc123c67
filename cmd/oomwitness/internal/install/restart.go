package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/systemd"
)

// restartTime limits the wait until containerd answers with its new configuration.
const restartTime = 2 * time.Minute

// finish makes containerd read its configuration if asked; otherwise it notes what to do.
// wanted says that containerd must have the handler then.
func (o Options) finish(ctx context.Context, result *Result, wanted bool) error {
	if !o.Root.Running() {
		return nil
	}
	switch {
	case o.source.Restarts:
		if result.Changed() && !o.DryRun {
			result.note("%s restarts containerd by itself as soon as it sees the change (running containers go on)", o.source.Generator)
		}
		if !o.Restart || o.DryRun {
			return nil
		}
		return o.await(ctx, wanted)
	case o.Restart && o.DryRun:
		result.did("restart", o.Unit)
	case o.Restart:
		return o.restart(ctx, result, wanted)
	case !o.DryRun && o.changedForContainerd(result):
		result.note("restart containerd for this to take effect: %s (running containers go on)", o.restartCommand())
	}
	return nil
}

// changedForContainerd reports whether the registration differs from before: containerd starts
// the shim's file as it finds the file, and knows nothing of this command, its units and the
// shim's settings.
func (o Options) changedForContainerd(result *Result) bool {
	others := []string{o.shimPath(), o.commandPath(), o.signPath(), SettingsPath}
	for _, name := range []string{UnitName, AgentUnitName} {
		others = append(others, o.unitPath(name), o.wantPath(name))
	}
	return slices.ContainsFunc(result.Actions, func(a Action) bool {
		return slices.Contains([]string{"create", "update", "remove"}, a.Verb) && !slices.Contains(others, a.Path)
	})
}

// restart restarts containerd's unit. If containerd does not come back as wanted, restart
// restores the files and restarts the unit once more. containerd has no reload: it reads its
// configuration when it starts.
func (o Options) restart(ctx context.Context, result *Result, wanted bool) error {
	err := o.restartUnit(ctx, result)
	if err == nil {
		err = o.await(ctx, wanted)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("containerd did not come back with the new configuration, which was undone: %w; see: journalctl -u %s", err, o.Unit)
	return errors.Join(err, o.changes.undo(result), o.restartUnit(context.WithoutCancel(ctx), result))
}

func (o Options) restartUnit(ctx context.Context, result *Result) error {
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	manager := o.Systemd
	if manager == nil {
		manager = systemd.Host{}
	}
	if result.HasUnit() {
		if err := manager.Reload(ctx); err != nil {
			return err
		}
	}
	result.did("restart", o.Unit)
	return manager.Restart(ctx, o.Unit)
}

// await waits until containerd's CRI plugin has the handler, or no longer has it if wanted is
// false.
func (o Options) await(ctx context.Context, wanted bool) error {
	if o.daemon.PID != 0 && !o.daemon.CRI {
		return nil // nobody to ask
	}
	ask := o.Handlers
	if ask == nil {
		ask = containerd.Handlers
	}
	var why error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, restartTime, true, func(ctx context.Context) (bool, error) {
		handlers, err := ask(ctx, o.Root.Path(o.Address))
		if err == nil && slices.Contains(handlers, o.Handler) != wanted {
			err = fmt.Errorf("containerd has the handlers %v", handlers)
		}
		why = err
		return err == nil, nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("waited for containerd: %w", err), why)
	}
	return nil
}
