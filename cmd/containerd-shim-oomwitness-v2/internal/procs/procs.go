// Package procs limits a shim's process to one of Go's processors.
package procs

import "runtime"

// Procs is the number of Go's processors: how many goroutines run at the same time. A shim
// mostly waits for runc. Each further processor keeps memory of its own, for small objects and
// for stacks, and helps with each garbage collection. A call that hangs in the kernel does not
// occupy a processor.
const Procs = 1

// Upstream's start gives each shim GOMAXPROCS=4 in its environment, over whatever
// the node says (cmd/containerd-shim-runc-v2/manager/manager_linux.go, newCommand).
// init sets the limit as the first thing of the process that is not the runtime's:
// what other packages allocate when they initialise would spread over four caches.
// Go initialises packages in the order of their import paths, among those whose
// imports are initialised. This package imports only the runtime, so that its turn
// comes before that of io, os and sync: it must import nothing else.
func init() { runtime.GOMAXPROCS(Procs) }
