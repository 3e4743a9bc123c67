// Package node puts a node of a cluster to use and takes it out again: the shim,
// its registration with containerd, the ledger and the node's label, each in its
// order, so that no pod is ever sent to a node that cannot run it.
package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/systemd"
)

// DefaultLabel is the label of the nodes that carry the shim; its value is true.
const DefaultLabel = "oomwitness.io/shim"

// every is how often a process outside of this one is asked whether it is there
// yet, or gone.
const every = time.Second

// Node is one node, as seen from itself.
type Node struct {
	// Install says what goes where, as its Locate has filled it in.
	Install install.Options
	// Check looks at the whole node, Stale only at whether containerd is older
	// than its configuration.
	Check func(context.Context) preflight.Report
	Stale func() preflight.Finding
	// Handlers are the runtime handlers that the running containerd has.
	Handlers func(context.Context) ([]string, error)
	// Systemd is the node's; nil where somebody else restarts containerd.
	Systemd systemd.Manager
	// Load and Unload are the ledger's, and say what they did. A nil Unload
	// leaves it.
	Load, Unload func() (string, error)
	// Mark sets the node's label or removes it.
	Mark func(ctx context.Context, carries bool) error
	// Patience bounds each wait: for systemd, for containerd to come back, for shims
	// to end.
	Patience time.Duration
	// Say prints for the operator what was done.
	Say func(format string, args ...any)
}

// registration are the checks of what Setup is about to write.
var registration = []string{"shim", "drop-in", "imports", "restart"}

// Setup checks the node, installs, has containerd restarted where it does not
// have the handler yet, loads the ledger, and labels the node at last. It can be
// repeated: what is in place stays untouched.
func (n *Node) Setup(ctx context.Context) error {
	if n.Systemd != nil && n.Install.Unit == "" {
		return errors.New("containerd belongs to no systemd unit: name one with --containerd-unit, or use --restart none")
	}
	if err := n.passes(ctx, registration); err != nil {
		return Unsupported(err)
	}
	result, err := n.installed(ctx)
	if err != nil {
		return err
	}
	if result.HasUnit() && result.Changed() {
		if err := n.ask(ctx, systemd.Manager.Reload); err != nil {
			return err
		}
	}
	if err := n.settle(ctx, n.registered); err != nil {
		return n.undone(ctx, result, err)
	}
	// Without the ledger the counters are there, and the shim tries again.
	if text, err := n.Load(); err != nil {
		n.Say("note: no ledger: %v", err)
	} else {
		n.Say("%s", text)
	}
	if err := n.Mark(ctx, true); err != nil {
		return err
	}
	n.Say("labelled the node")
	return nil
}

// installed installs, and checks the result. A node whose files cannot take the registration,
// or where containerd would not read it, gets its files back and is unsupported.
func (n *Node) installed(ctx context.Context) (install.Result, error) {
	result, err := install.Install(ctx, n.Install)
	n.report(result)
	_, missing := errors.AsType[*install.MissingError](err)
	switch {
	case err == nil:
		if err = n.passes(ctx, nil); err == nil {
			return result, nil
		}
	case errors.Is(err, syscall.EROFS):
		err = fmt.Errorf("%w: a pod of the Helm chart writes to the folders that the value node.writable names", err)
	case len(result.Actions) > 0 && !missing:
		return result, err // a step failed, and was undone: it is tried again
	}
	return result, errors.Join(Unsupported(err), n.undo(&result))
}

// undo puts the node's files back.
func (n *Node) undo(result *install.Result) error {
	before := len(result.Actions)
	err := result.Undo()
	n.report(install.Result{Actions: result.Actions[before:]})
	return err
}

// registered says what the running containerd lacks of the registration, "" for
// nothing.
func (n *Node) registered(ctx context.Context) string {
	handlers, err := n.Handlers(ctx)
	if err != nil {
		return err.Error()
	}
	if !slices.Contains(handlers, n.Install.Handler) {
		return fmt.Sprintf("containerd has no runtime handler %q", n.Install.Handler)
	}
	if f := n.Stale(); f.Status != preflight.OK {
		return f.Found
	}
	return ""
}

// deregistered says what the running containerd still has, "" for nothing.
func (n *Node) deregistered(ctx context.Context) string {
	handlers, err := n.Handlers(ctx)
	if err != nil {
		return err.Error()
	}
	if slices.Contains(handlers, n.Install.Handler) {
		return fmt.Sprintf("containerd still has the runtime handler %q", n.Install.Handler)
	}
	return ""
}

// settle has containerd restarted where its state is not what its files say, and
// returns when it is.
func (n *Node) settle(ctx context.Context, lacks func(context.Context) string) error {
	why := lacks(ctx)
	if why == "" {
		return nil
	}
	by, itself := n.Install.Generator()
	switch {
	case itself:
		n.Say("%s: waiting until %s restarts it", why, by)
	case n.Systemd == nil:
		n.Say("%s: waiting until it is restarted", why)
	default:
		n.Say("%s: restarting %s", why, n.Install.Unit)
		if err := n.restart(ctx); err != nil {
			return err
		}
	}
	return n.until(ctx, "containerd to be restarted", func(ctx context.Context) (string, error) {
		return lacks(ctx), nil
	})
}

// restart restarts containerd's unit.
func (n *Node) restart(ctx context.Context) error {
	return n.ask(ctx, func(s systemd.Manager, ctx context.Context) error { return s.Restart(ctx, n.Install.Unit) })
}

// undone puts the node's files back where containerd, restarted by this process, did not
// come back with the new ones.
func (n *Node) undone(ctx context.Context, result install.Result, why error) error {
	if n.Systemd == nil || !result.Changed() {
		return why
	}
	return errors.Join(fmt.Errorf("containerd did not come back with the registration, which was undone: %w", why),
		n.undo(&result), n.restart(context.WithoutCancel(ctx)))
}

// ask makes a request, where there is somebody to ask.
func (n *Node) ask(ctx context.Context, request func(systemd.Manager, context.Context) error) error {
	if n.Systemd == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.Patience)
	defer cancel()
	return request(n.Systemd, ctx)
}

// until waits until a thing outside of this process is not lacking any more. A look that the
// end of the time cuts off leaves what the look before saw.
func (n *Node) until(ctx context.Context, what string, lacks func(context.Context) (string, error)) error {
	seen := ""
	err := wait.PollUntilContextTimeout(ctx, every, n.Patience, true, func(ctx context.Context) (bool, error) {
		why, err := lacks(ctx)
		if why != "" && (seen == "" || ctx.Err() == nil) {
			seen = why + ": "
		}
		return err == nil && why == "", err
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("waited %s for %s: %s%w", n.Patience, what, seen, err)
	}
	return err
}

// Remove takes the node's label first, so that no more pods come, waits until no
// shim runs, and then removes what Setup put in place. It can be repeated.
func (n *Node) Remove(ctx context.Context) error {
	if err := n.Mark(ctx, false); err != nil {
		return err
	}
	n.Say("removed the node's label")
	// Stopped while systemd still knows it. One that is not there needs none.
	err := n.ask(ctx, func(s systemd.Manager, ctx context.Context) error { return s.Stop(ctx, install.UnitName) })
	if err != nil {
		n.Say("note: %v", err)
	}
	if err := n.uninstall(ctx); err != nil {
		return err
	}
	if err := n.ask(ctx, systemd.Manager.Reload); err != nil {
		return err
	}
	if err := n.settle(ctx, n.deregistered); err != nil {
		return err
	}
	if n.Unload == nil {
		return nil
	}
	text, err := n.Unload()
	if err != nil {
		return err
	}
	n.Say("%s", text)
	return nil
}

// uninstall removes the files as soon as no shim runs.
func (n *Node) uninstall(ctx context.Context) error {
	said := false
	return n.until(ctx, "the shims to end", func(ctx context.Context) (string, error) {
		result, err := install.Uninstall(ctx, n.Install)
		if running, ok := errors.AsType[*install.RunningError](err); ok {
			if !said {
				n.Say("%s: waiting until the last has ended", running.Running())
				said = true
			}
			return running.Error(), nil
		}
		n.report(result)
		return "", err
	})
}

// report prints what install did.
func (n *Node) report(result install.Result) {
	for _, action := range result.Actions {
		n.Say("%-9s %s", action.Verb, action.Path)
	}
	for _, note := range result.Notes {
		n.Say("note: %s", note)
	}
}
