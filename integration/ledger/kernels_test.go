//go:build linux

// Package ledger runs the ledger's own tests in the node VM: on every kernel that the project
// names, with every tier that the kernel supports.
package ledger

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/node"
)

// matrix has the kernels and the tiers that each must support, first the tier that it must
// choose by itself. Some refuse tier B, for the given reason: kprobes of 5.10 are no BPF links.
// On arm64, 6.1 has no fentry on the kernel's functions.
var matrix = []struct {
	arch     node.Arch
	kernel   string
	tiers    []string
	refusedB string
}{
	{node.AMD64, "5.10", []string{"A", "C"}, "can't be pinned"},
	{node.AMD64, "6.1", []string{"A", "B", "C"}, ""},
	{node.AMD64, "6.12", []string{"A", "B", "C"}, ""},
	{node.AMD64, "7", []string{"A", "B", "C"}, ""},
	{node.ARM64, "6.1", []string{"B", "C"}, ""},
	{node.ARM64, "6.12", []string{"A", "B", "C"}, ""},
}

const (
	bootAndTests = 60 * time.Minute
	memory       = 2048 // MiB
	secondNode   = 256  // MiB of it
)

// TestKernels needs root, the node VM, and an hour or two. LEDGER_KERNELS is "all", or some of
// the kernels with commas between. ARCH=arm64 uses an emulated arm64. LEDGER_TIERS, and the
// regular expressions LEDGER_RUN and LEDGER_SKIP, select fewer tests. LOOKUPS, BENCH_KILLS,
// LOADER_KILLS and SCAN are numbers for the tests themselves. The whole output is kept in
// .cache/ledger.
func TestKernels(t *testing.T) {
	wanted := os.Getenv("LEDGER_KERNELS")
	if wanted == "" {
		t.Skip("boots the node VM eleven times, for an hour: LEDGER_KERNELS=all, or 6.1,7")
	}
	repo := repository(t)
	kept := filepath.Join(repo, ".cache", "ledger")
	require.NoError(t, os.MkdirAll(kept, 0o755))
	arch := node.Arch(os.Getenv("ARCH"))
	if arch == "" {
		arch = node.DefaultArch
	}
	tests := build(t, repo, arch)
	ran := 0
	for _, m := range matrix {
		if m.arch != arch || wanted != "all" && !contains(wanted, m.kernel) {
			continue
		}
		t.Run(m.kernel, func(t *testing.T) {
			for i, tier := range m.tiers {
				if only := os.Getenv("LEDGER_TIERS"); only != "" && !contains(only, tier) {
					continue
				}
				ran++
				t.Run(tier, func(t *testing.T) {
					guest{repo: repo, tests: tests, kept: kept, arch: arch, kernel: m.kernel, tier: tier, best: i == 0, refusedB: m.refusedB}.run(t)
				})
			}
		})
	}
	require.Positive(t, ran, "no kernel and tier of LEDGER_KERNELS=%s LEDGER_TIERS=%s", wanted, os.Getenv("LEDGER_TIERS"))
	t.Run("relocations", func(t *testing.T) { relocations(t, repo, kept) })
}

func contains(list, one string) bool { return slices.Contains(strings.Split(list, ","), one) }

func repository(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	repo, err := node.FindRepo(dir)
	require.NoError(t, err)
	return repo
}

// build makes a static test binary of the ledger's package.
func build(t *testing.T, repo string, arch node.Arch) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bpf.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", name, "./bpf")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+string(arch))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return name
}

// guest is one kernel with one forced tier.
type guest struct {
	repo, tests  string
	kept         string // folder for output and BTF
	arch         node.Arch
	kernel, tier string
	best         bool // the kernel must choose this tier without force
	refusedB     string
}

// name returns the kernel's name, with the architecture if it is not the default.
func (g guest) name() string {
	if g.arch == node.DefaultArch {
		return g.kernel
	}
	return string(g.arch) + "-" + g.kernel
}

// command returns the command that runs the tests. On the kernel's best tier, the tests first
// run without force, to see that the kernel chooses that tier. The command also copies the
// kernel's BTF back.
func (g guest) command() string {
	const test = "/opt/oomwitness/bpf.test -test.v -test.timeout 58m -test.run "
	run := os.Getenv("LEDGER_RUN")
	if run == "" {
		run = "."
	}
	command := test + "'" + run + "' -test.skip '" + os.Getenv("LEDGER_SKIP") + "'"
	if g.best {
		command = "cp /sys/kernel/btf/vmlinux " + node.GuestOut + "/" + g.name() + ".btf && " +
			"TIER= BEST=" + g.tier + " " + test + "'^TestBestTier$' && " + command
	}
	return command
}

func (g guest) run(t *testing.T) {
	t.Helper()
	log, err := os.Create(filepath.Join(g.kept, g.name()+"-"+g.tier+".log"))
	require.NoError(t, err)
	defer log.Close()
	machine, err := node.Prepare(t.Context(), g.config())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), bootAndTests)
	defer cancel()
	result, err := machine.Run(ctx, node.Run{
		Args:   []string{"sh", "-c", g.command()},
		Env:    append(counts(), "TIER="+g.tier, "OOM_NODE=1", "REFUSED_B="+g.refusedB),
		Files:  []node.File{{Host: g.tests, Guest: "bpf.test"}},
		Out:    g.kept,
		Stdout: log, Stderr: log, Timeout: bootAndTests,
	})
	output, e := os.ReadFile(log.Name())
	require.NoError(t, e)
	require.NoError(t, err, "%s", output)
	for line := range strings.Lines(string(output)) {
		if figure(line) || result.Status != 0 {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	require.Zero(t, result.Status, "see %s", log.Name())
}

// counts returns the numbers for the tests that the environment sets.
func counts() []string {
	var env []string
	for _, name := range []string{"LOOKUPS", "BENCH_KILLS", "LOADER_KILLS", "SCAN"} {
		if n := os.Getenv(name); n != "" {
			env = append(env, name+"="+n)
		}
	}
	return env
}

// figure reports whether a line of the tests' output is a figure for a report.
func figure(line string) bool {
	for _, s := range []string{"metric=", "--- SKIP", "chosen", "its mark_victim", "needs "} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

func (g guest) config() node.Config {
	accel := os.Getenv("OOMWITNESS_ACCEL")
	if accel == "" {
		accel = node.AccelAuto
	}
	return node.Config{
		Repo: g.repo, Cache: node.DefaultCache(g.repo), Arch: g.arch, Flavour: "plain", Kernel: g.kernel,
		Memory: memory, SecondNode: secondNode, Accel: accel, Progress: os.Stderr,
	}
}

// relocations resolves every CO-RE relocation against the BTF of all kernels in kept, of this
// and of earlier runs.
func relocations(t *testing.T, repo, kept string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^TestRelocationsOffline$", "./bpf")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "BTF_FILES="+filepath.Join(kept, "*.btf"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "--- SKIP")
	for line := range strings.Lines(string(out)) {
		if figure(line) || strings.Contains(line, "--- PASS") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
}
