//go:build linux

package shim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	// ledgerWait is how long the start of a pod waits for another loader. Only the
	// first pods of a node that did not load it at boot meet one; without the
	// ledger one of them could lose its verdict.
	ledgerWait = 15 * time.Second
	// refusedFor is how long a refusal holds. A node that can't
	// have a ledger must not try again at each pod.
	refusedFor = 10 * time.Minute
)

// refusedFile remembers why the ledger could not be loaded.
var refusedFile = filepath.Join(bpf.DefaultLockDir, "refused")

// Sources returns the sources of evidence on this node, best first. A node without
// a memory controller still runs containers.
func Sources(ctx context.Context) []oom.Source {
	h, err := oom.FindHierarchy()
	if err != nil {
		log.G(ctx).WithError(err).Error("no OOM can be recognised on this node")
		return nil
	}
	counters, err := oom.NewCounters(h)
	if err != nil {
		log.G(ctx).WithError(err).Error("no OOM can be recognised on this node")
		return nil
	}
	return []oom.Source{bpf.NewSource("", h), counters}
}

// ledgerAway reports whether an error is of a ledger that can't be asked.
func ledgerAway(err error) bool {
	return slices.ContainsFunc([]error{
		bpf.ErrAbsent, bpf.ErrABI, bpf.ErrRetired, bpf.ErrGap, bpf.ErrEvicted, bpf.ErrPermission,
	}, func(away error) bool { return errors.Is(err, away) })
}

// ensureLedger loads the ledger if none is pinned. Containers start without it
// as well, so its errors end here: they stand in the file, oomwitness check prints
// them, and the shim logs for which containers it has no ledger.
func ensureLedger() {
	if fi, err := os.Stat(refusedFile); err == nil && time.Since(fi.ModTime()).Abs() < refusedFor {
		return
	}
	_, err := bpf.Load(bpf.Options{Wait: ledgerWait})
	if err == nil || errors.Is(err, bpf.ErrBusy) {
		return
	}
	_ = os.MkdirAll(filepath.Dir(refusedFile), 0o700)
	_ = os.WriteFile(refusedFile, []byte(err.Error()+"\n"), 0o600)
}
