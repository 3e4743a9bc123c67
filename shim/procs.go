//go:build linux

package shim

import "runtime"

// procs is how many of the process's goroutines run at once. A shim mostly waits
// for runc. Each of Go's processors beyond the first keeps memory of its own, for
// small objects and for stacks, and helps with each garbage collection. A call
// that hangs in the kernel takes none away from the others.
const procs = 1

// LimitProcs holds the process to them. It is for main to call, before anything
// else: upstream's start gives each shim GOMAXPROCS=4 in its environment
// (cmd/containerd-shim-runc-v2/manager/manager_linux.go, newCommand), over whatever
// the node says.
func LimitProcs() { runtime.GOMAXPROCS(procs) }
