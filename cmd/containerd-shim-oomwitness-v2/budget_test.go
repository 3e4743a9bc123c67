package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// budget returns the numbers of budget.txt, by name.
func budget(t *testing.T) map[string]int64 {
	t.Helper()
	f, err := os.Open("budget.txt")
	require.NoError(t, err)
	defer f.Close()
	most := map[string]int64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var name string
		var n int64
		_, err := fmt.Sscanf(line, "%s %d", &name, &n)
		require.NoError(t, err, "%q", line)
		most[name] = n
	}
	return most
}

// flags returns the flags that make build gives to go, beside those of the linker.
func flags(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shim.mod")
	out, err := exec.CommandContext(t.Context(), "./modfile.sh", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return []string{"-tags", "no_grpc,purego,no_loader", "-modfile", file}
}

// small returns SMALL of the Makefile, the packages that make build compiles without inlined calls.
func small(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	_, line, ok := strings.Cut(string(text), "\nSMALL   := ")
	require.True(t, ok, "the Makefile has no SMALL")
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

// linked returns the packages that make build links into the shim for amd64. What go says while
// it downloads a module is on its standard error.
func linked(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps"}, append(flags(t), ".")...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, said.String())
	return strings.Fields(string(out))
}

// TestPackages counts what the shim links.
func TestPackages(t *testing.T) {
	most := budget(t)["packages"]
	require.NotZero(t, most)
	packages := linked(t)
	require.LessOrEqual(t, int64(len(packages)), most, "packages linked: if each is worth it, say so in budget.txt:\n%s", packages)
}

// build builds the shim as make build does and returns the file's path.
func build(t *testing.T, arch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shim")
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -funcalign=16", "-o", path}, flags(t)...)
	for _, pkg := range small(t) {
		args = append(args, "-gcflags="+pkg+"=-l")
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// TestFileSize builds the shim as make build does. A budget that is far above
// the file is none: then it is to be lowered.
func TestFileSize(t *testing.T) {
	fi, err := os.Stat(build(t, "amd64"))
	require.NoError(t, err)
	limit := budget(t)["bytes"]
	t.Logf("%d bytes of %d", fi.Size(), limit)
	require.LessOrEqual(t, fi.Size(), limit, "the shim has grown: if that is worth it, say so in budget.txt")
	require.Greater(t, fi.Size(), limit*97/100, "the budget can be lowered")
}
