// Package oom holds what is known of a container's OOM kills (evidence) and
// what an exit was (verdict).
//
// A [Source] is one place that knows of kills: the counters of a memory cgroup,
// or the kernel's own ledger. Armed for a container it returns a [Probe], and a
// probe read returns [Evidence]. [Decide] turns the evidence, the exit and the
// stops that containerd asked for into a [Verdict], and is the only place where
// that is done.
//
// The package imports neither containerd nor Kubernetes: the shim, the agent
// and the tests all stand on it.
package oom
