//go:build linux

package faults

import (
	"fmt"
	"testing"
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

// TestContainerdStopped stops containerd with SIGSTOP. Nothing can take the shims' events, and
// the shims must show the exits all the same.
func TestContainerdStopped(t *testing.T) {
	n := setUpShort(t)
	n.runFault(t, fault{Fault: n.ContainerdStopped(), size: many, bound: true})
}
