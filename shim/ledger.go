//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	// ledgerWait is how long the start of a pod waits for the ledger to be loaded. Only
	// the first pods of a node that did not load it at boot need it; without the
	// ledger one of them could lose its verdict.
	ledgerWait = 15 * time.Second
	// refusedFor is how long a refusal holds. A node that can't
	// have a ledger must not try again at each pod.
	refusedFor = 10 * time.Minute
)

// refusedFile remembers why the ledger could not be loaded.
var refusedFile = bpf.RefusedFile

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
		bpf.ErrAbsent, bpf.ErrABI, bpf.ErrPIDs, bpf.ErrRetired, bpf.ErrGap, bpf.ErrEvicted, bpf.ErrPermission,
	}, func(away error) bool { return errors.Is(err, away) })
}

// refusal returns why the ledger could not be loaded when a shim was started, and ""
// where err is not of a ledger that is absent.
func refusal(err error) string {
	if !errors.Is(err, bpf.ErrAbsent) {
		return ""
	}
	text, err := os.ReadFile(refusedFile)
	if err != nil {
		return "" // loaded, and unloaded since
	}
	return strings.TrimSpace(string(text))
}

// ensureLedger has the ledger loaded if none that this shim can use is pinned.
// Containers start without it as well, so its errors end here: they stand in the file,
// and the shim logs for which containers it has no ledger.
func ensureLedger(ctx context.Context) {
	err := bpf.Usable()
	if err != nil && !errors.Is(err, bpf.ErrABI) && !errors.Is(err, bpf.ErrPIDs) {
		var loader string
		if loader, err = findLoader(); err == nil {
			if refusedLately() {
				return
			}
			err = runLoader(ctx, loader)
		}
	}
	if err == nil || errors.Is(err, bpf.ErrBusy) {
		return
	}
	_ = os.MkdirAll(filepath.Dir(refusedFile), 0o700)
	_ = os.WriteFile(refusedFile, []byte(err.Error()+"\n"), 0o600)
}

// refusedLately reports whether the ledger was refused a short time ago. A loader that
// was not there is no refusal: somebody may have copied it since.
func refusedLately() bool {
	fi, err := os.Stat(refusedFile)
	if err != nil || time.Since(fi.ModTime()).Abs() >= refusedFor {
		return false
	}
	text, err := os.ReadFile(refusedFile)
	return err == nil && !strings.HasPrefix(string(text), noLoader)
}

// noLoader begins the reason where there is nothing that could load the ledger.
const noLoader = "no OOM ledger is loaded, and the command"

// loaderName is the node command, which has the programs of the ledger and all that
// loads them: what only a node's first pod needs is not in every pod's shim.
const loaderName = "oomwitness"

// runLoader runs "oomwitness load", and returns bpf.ErrBusy where another loader holds
// the lock.
func runLoader(ctx context.Context, loader string) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, loader, "load", "--own-pids").CombinedOutput()
	if err == nil {
		if err = bpf.Usable(); err == nil {
			_ = os.Remove(refusedFile)
			return nil
		}
		return fmt.Errorf("%s has loaded a ledger that this shim cannot use: %w", loader, err)
	}
	said := strings.TrimSpace(string(out))
	if strings.Contains(said, bpf.ErrBusy.Error()) {
		return fmt.Errorf("%s load: %w", loader, bpf.ErrBusy)
	}
	return fmt.Errorf("%s load: %w: %s", loader, err, said)
}

// findLoader returns the path of the node command: beside the shim's own file, or on
// PATH.
func findLoader() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the shim's own file: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), loaderName)
	if _, err := exec.LookPath(beside); err == nil {
		return beside, nil
	}
	if path, err := exec.LookPath(loaderName); err == nil {
		return path, nil
	}
	return "", fmt.Errorf(noLoader+" %s that loads it is neither %s nor on PATH: "+
		"copy it there, or run \"%s load\" after each boot", loaderName, beside, loaderName)
}
