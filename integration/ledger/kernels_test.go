//go:build linux

// Package ledger runs the ledger's own tests in the node VM: on every kernel
// that the project names, with every tier that the kernel takes.
package ledger

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/node"
)

// matrix are the kernels and the tiers that each must take, the one that it
// must choose by itself first. kprobes of 5.10 are no BPF links and can't be
// pinned, so it has no tier B.
var matrix = []struct {
	kernel string
	tiers  []string
}{
	{"5.10", []string{"A", "C"}},
	{"6.1", []string{"A", "B", "C"}},
	{"6.12", []string{"A", "B", "C"}},
	{"7", []string{"A", "B", "C"}},
}

const (
	bootAndTests = 30 * time.Minute
	memory       = 2048 // MiB
)

// TestKernels needs root, the node VM and an hour: LEDGER_KERNELS=all, or some
// of the kernels with commas between. LEDGER_RUN is a regexp of the tests.
func TestKernels(t *testing.T) {
	wanted := os.Getenv("LEDGER_KERNELS")
	if wanted == "" {
		t.Skip("boots the node VM eleven times, for an hour: LEDGER_KERNELS=all, or 6.1,7")
	}
	tests := build(t)
	for _, m := range matrix {
		if wanted != "all" && !contains(wanted, m.kernel) {
			continue
		}
		t.Run(m.kernel, func(t *testing.T) {
			for i, tier := range m.tiers {
				t.Run(tier, func(t *testing.T) { runTests(t, tests, m.kernel, tier, i == 0) })
			}
		})
	}
}

func contains(list, one string) bool {
	for s := range strings.SplitSeq(list, ",") {
		if s == one {
			return true
		}
	}
	return false
}

// build makes a static test binary of the ledger's package.
func build(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bpf.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", name, "github.com/oomwitness/oomwitness/bpf")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return name
}

// runTests runs them in a fresh guest with one tier forced. The kernel's best is
// run without force first, to see that it is chosen.
func runTests(t *testing.T, tests, kernel, tier string, best bool) {
	t.Helper()
	run := os.Getenv("LEDGER_RUN")
	if run == "" {
		run = "."
	}
	const name = "bpf.test"
	command := "/opt/oomwitness/" + name + " -test.v -test.timeout 28m -test.run '" + run + "'"
	if best {
		command = "TIER= BEST=" + tier + " /opt/oomwitness/" + name + " -test.v -test.run '^TestBestTier$' && " + command
	}
	var out bytes.Buffer
	machine, err := node.Prepare(t.Context(), config(t, kernel))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), bootAndTests)
	defer cancel()
	result, err := machine.Run(ctx, node.Run{
		Args:   []string{"sh", "-c", command},
		Env:    []string{"TIER=" + tier, "OOM_NODE=1", "LOADER_KILLS=2", "LOOKUPS=" + os.Getenv("LOOKUPS")},
		Files:  []node.File{{Host: tests, Guest: name}},
		Stdout: &out, Stderr: &out, Timeout: bootAndTests,
	})
	require.NoError(t, err, "%s", out.String())
	for line := range strings.Lines(out.String()) {
		if figure(line) || result.Status != 0 {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	require.Zero(t, result.Status)
}

// figure says whether a line of the tests' output is worth a report's.
func figure(line string) bool {
	for _, s := range []string{"look-ups", "kills", "all maps", "a load", "--- SKIP", "chosen"} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

func config(t *testing.T, kernel string) node.Config {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	repo, err := node.FindRepo(dir)
	require.NoError(t, err)
	accel := os.Getenv("OOMWITNESS_ACCEL")
	if accel == "" {
		accel = node.AccelAuto
	}
	return node.Config{
		Repo: repo, Cache: node.DefaultCache(repo), Flavour: "plain", Kernel: kernel, Memory: memory,
		Accel: accel, Progress: os.Stderr,
	}
}
