//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// clockSet is how far the test sets the clock back.
const clockSet = time.Hour

// bundleTime is the length of the fault: most containers then end well within the fault.
const bundleTime = 4 * time.Second

// bundlesApart puts the bundles of further pods on a small file system of their own.
func bundlesApart(t *testing.T) {
	t.Helper()
	require.NoError(t, os.MkdirAll(faultkit.TasksDir, 0o711))
	require.NoError(t, unix.Mount("bundles", faultkit.TasksDir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=711", 8*mix.MiB)))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(faultkit.TasksDir, unix.MNT_DETACH)) })
}

// filler is the path of the file that fills the file system.
var filler = filepath.Join(faultkit.TasksDir, "filler")

// keepFull fills the file system, and fills it again when a removed bundle makes room, until
// free is called.
func keepFull() (free func() error, err error) {
	f, err := os.Create(filler)
	if err != nil {
		return nil, err
	}
	fill := func() error {
		var err error
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("fill %s: %w", filler, err)
		}
		return nil
	}
	if err := fill(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	stop, ended := make(chan struct{}), make(chan error)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var err error
		for {
			select {
			case <-stop:
				ended <- errors.Join(err, f.Close())
				return
			case <-tick.C:
				err = errors.Join(err, fill())
			}
		}
	}()
	return func() error {
		close(stop)
		return errors.Join(<-ended, os.Remove(filler))
	}, nil
}

// logged wants the failure in the log of a container that ended while the record could not be
// written. Some containers are excepted: the removal of a bundle makes room for a moment.
func logged(reason string) func(*fleet, *member) string {
	says := func(line string) bool {
		return strings.Contains(line, "exit gate: ") && strings.Contains(line, reason)
	}
	return func(fl *fleet, m *member) string {
		if fl.n.shim == "stock" || !fl.during(m) || slices.ContainsFunc(fl.members, func(m *member) bool {
			return fl.during(m) && slices.ContainsFunc(faultkit.LogOf(m.id), says)
		}) {
			return ""
		}
		return fmt.Sprintf("no line of the exit gate with %q in the log", reason)
	}
}

// TestBundleFull leaves no room for the record on the file system of the bundles.
func TestBundleFull(t *testing.T) {
	n := setUp(t)
	bundlesApart(t)
	var free func() error
	n.runFault(t, fault{
		Fault: faultkit.Fault{
			Label: "bundle-full", Lasts: bundleTime,
			Strike: func(context.Context) (err error) { free, err = keepFull(); return err },
			Heal:   func(context.Context) error { return free() },
		},
		size:  many,
		check: logged("no space left on device"),
	})
}

// TestBundleReadOnly makes the bundles read-only.
func TestBundleReadOnly(t *testing.T) {
	n := setUp(t)
	bundlesApart(t)
	remount := func(flags uintptr) func(context.Context) error {
		return func(ctx context.Context) error {
			return faultkit.Until(ctx, "the moment in which nobody writes", func() error {
				return unix.Mount("bundles", faultkit.TasksDir, "tmpfs", unix.MS_REMOUNT|flags, "")
			})
		}
	}
	n.runFault(t, fault{
		Fault: faultkit.Fault{
			Label: "bundle-read-only", Strike: remount(unix.MS_RDONLY), Lasts: bundleTime, Heal: remount(0),
		},
		// runc cannot open its log in a read-only bundle: a stop fails, and CRI never asks
		// again.
		kinds: faultkit.Kinds[:len(faultkit.Kinds)-1],
		size:  many,
		check: logged("read-only file system"),
	})
}

// TestClockSetBack sets the clock back by an hour, and forward again.
func TestClockSetBack(t *testing.T) {
	n := setUp(t)
	set := func(by time.Duration) func(context.Context) error {
		return func(context.Context) error {
			tv := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
			return unix.Settimeofday(&tv)
		}
	}
	n.runFault(t, fault{
		Fault: faultkit.Fault{Label: "clock-back=1h", Strike: set(-clockSet), Lasts: 2 * n.Lead, Heal: set(clockSet)},
		size:  many,
	})
}
