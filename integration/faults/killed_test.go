//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// size is the number of pods of a cycle, and the number of containers of each kind in each pod.
type size struct{ pods, each int }

var (
	// few is for faults that restart containerd: CRI must ask for the states of all containers
	// within its 10 s, on emulated CPUs with other load.
	few = size{pods: 2, each: 3}
	// many is for faults during which containerd runs on. The pods are few, since a pod costs
	// as much as two containers.
	many = size{pods: 3, each: 4}
)

// upTo returns a size with at most left containers of each kind.
func (s size) upTo(left int) size {
	s.each = min(s.each, left)
	s.pods = min(s.pods, (left+s.each-1)/s.each)
	return s
}

// runFault runs a fault until the planned number of containers of each kind has gone through
// it, and then judges.
func (n *node) runFault(t *testing.T, f fault) {
	t.Helper()
	n.repeat(t, f, n.cycle)
}

// repeat does the same with another function for the cycle.
func (n *node) repeat(t *testing.T, f fault, cycle func(*testing.T, fault, size, summary)) {
	t.Helper()
	if f.size == (size{}) {
		f.size = few
	}
	sum := newSummary()
	for left := n.Runs; left > 0; {
		now := f.size.upTo(left)
		left -= now.pods * now.each
		t.Run("cycle", func(t *testing.T) { cycle(t, f, now, sum) })
	}
	sum.report(t, n, f)
}

// TestPod runs pods without any fault: the control.
func TestPod(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{Fault: n.NoFault(), size: many})
}

// TestContainerdKilled kills containerd before, while and after containers end. A new
// containerd starts after a while.
func TestContainerdKilled(t *testing.T) {
	n := setUpShort(t)
	for _, back := range n.Backs() {
		t.Run(fmt.Sprint("back-", back), func(t *testing.T) {
			n.runFault(t, fault{Fault: n.ContainerdKilled(back)})
		})
	}
}

// TestBundleRemoved kills containerd when containerd has removed the bundle of a
// container, mostly ahead of CRI's record: then containerd has lost the exit, see [fleet.lost].
func TestBundleRemoved(t *testing.T) {
	n := setUp(t)
	f := n.ContainerdKilled(0)
	f.Label = "containerd-killed at=bundle"
	kill := f.Strike
	f.Strike = func(ctx context.Context) error {
		pid, err := faultkit.ContainerdPid()
		if err != nil {
			return err
		}
		if err := bundleRemoved(ctx); err != nil {
			return err
		}
		return errors.Join(unix.Kill(pid, unix.SIGSTOP), kill(ctx)) // stopped at once, the kill takes longer
	}
	n.runFault(t, fault{Fault: f})
}

// bundleRemoved waits until containerd removes a bundle: containerd renames the bundle first.
func bundleRemoved(ctx context.Context) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, faultkit.TasksDir, unix.IN_MOVED_FROM); err != nil {
		return fmt.Errorf("watch %s: %w", faultkit.TasksDir, err)
	}
	defer context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })()
	if _, err := events.Read(make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1)); err != nil {
		return fmt.Errorf("wait for the removal of a bundle: %w", err)
	}
	return nil
}

// TestContainerdStopped stops containerd with SIGSTOP. Nothing can take the shims' events, and
// the shims must show the exits all the same.
func TestContainerdStopped(t *testing.T) {
	n := setUpShort(t)
	n.runFault(t, fault{Fault: n.ContainerdStopped(), size: many, bound: true})
}
