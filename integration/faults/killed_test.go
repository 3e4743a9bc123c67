//go:build linux

package faults

import (
	"fmt"
	"testing"
)

// most is how many pods go through one cycle; each has a container of each kind.
// CRI gives all that it recovers 10 s: more are too much for emulated CPUs.
const most = 3

// runFault runs a fault as often as asked for, and judges.
func (n *node) runFault(t *testing.T, f fault) {
	t.Helper()
	sum := newTally()
	for left := n.Runs; left > 0; left -= most {
		t.Run("cycle", func(t *testing.T) { n.cycle(t, f, min(left, most), sum) })
	}
	sum.report(t, n, f)
}

// TestPod is one pod of each kind without any fault: the control.
func TestPod(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{Fault: n.NoFault()})
}

// TestContainerdKilled kills containerd before, while and after containers end,
// and lets it come back after a while.
func TestContainerdKilled(t *testing.T) {
	n := setUp(t)
	for _, back := range n.Backs() {
		t.Run(fmt.Sprint("back-", back), func(t *testing.T) {
			n.runFault(t, fault{Fault: n.ContainerdKilled(back)})
		})
	}
}

// TestContainerdStopped stops containerd with SIGSTOP. Nothing can take the
// shims' events, and they must show the exits all the same.
func TestContainerdStopped(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{Fault: n.ContainerdStopped(), bound: true})
}
