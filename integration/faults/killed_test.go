//go:build linux

package faults

import (
	"fmt"
	"testing"
)

// size is how many pods go through one cycle, and how many containers of each
// kind are in each.
type size struct{ pods, each int }

var (
	// few are as many as a containerd that starts can ask for their states in the
	// 10 s that CRI gives all of them, on emulated CPUs that others use as well.
	few = size{pods: 2, each: 3}
	// many are for faults through which containerd lives; in few pods, since each
	// costs what two containers do.
	many = size{pods: 3, each: 4}
)

// upTo is a size that has no more of each kind.
func (s size) upTo(left int) size {
	s.each = min(s.each, left)
	s.pods = min(s.pods, (left+s.each-1)/s.each)
	return s
}

// runFault runs a fault until as many containers of each kind as asked for have
// gone through it, and judges.
func (n *node) runFault(t *testing.T, f fault) {
	t.Helper()
	n.repeat(t, f, n.cycle)
}

// repeat does it with cycles that may be of another make.
func (n *node) repeat(t *testing.T, f fault, cycle func(*testing.T, fault, size, tally)) {
	t.Helper()
	if f.size == (size{}) {
		f.size = few
	}
	sum := newTally()
	for left := n.Runs; left > 0; {
		now := f.size.upTo(left)
		left -= now.pods * now.each
		t.Run("cycle", func(t *testing.T) { cycle(t, f, now, sum) })
	}
	sum.report(t, n, f)
}

// TestPod is one pod of each kind without any fault: the control.
func TestPod(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{Fault: n.NoFault(), size: many})
}

// TestContainerdKilled kills containerd before, while and after containers end,
// and lets it come back after a while.
func TestContainerdKilled(t *testing.T) {
	n := setUpShort(t)
	for _, back := range n.Backs() {
		t.Run(fmt.Sprint("back-", back), func(t *testing.T) {
			n.runFault(t, fault{Fault: n.ContainerdKilled(back)})
		})
	}
}

// TestContainerdStopped stops containerd with SIGSTOP. Nothing can take the
// shims' events, and they must show the exits all the same.
func TestContainerdStopped(t *testing.T) {
	n := setUpShort(t)
	n.runFault(t, fault{Fault: n.ContainerdStopped(), size: many, bound: true})
}
