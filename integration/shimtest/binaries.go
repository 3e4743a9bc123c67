//go:build linux

package shimtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/oomwitness/oomwitness/integration/workload"
	"golang.org/x/sys/unix"
)

// binary is a program that the tests need. An environment variable names it, or it is found on
// PATH, or built.
type binary struct {
	env, name string
	build     func(ctx context.Context, path string) error

	once sync.Once
	path string
	err  error
}

var (
	ours = &binary{
		env: "OOMWITNESS_SHIM", name: "containerd-shim-oomwitness-v2",
		build: buildOurs("no_grpc,purego,no_loader"),
	}
	faults = &binary{
		env: "OOMWITNESS_SHIM_FAULTS", name: "containerd-shim-oomwitness-faults-v2",
		build: buildOurs("no_grpc,purego,no_loader,faultpoints"),
	}
	command = &binary{
		env: "OOMWITNESS_COMMAND", name: "oomwitness",
		build: goBuild("github.com/oomwitness/oomwitness/cmd/oomwitness", "CGO_ENABLED=0"),
	}
	stock = &binary{
		env: "STOCK_SHIM", name: "containerd-shim-runc-v2",
		build: goBuild("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "CGO_ENABLED=0", "-tags=no_grpc"),
	}
	runc = &binary{
		env: "RUNC", name: "runc",
		build: goBuild("github.com/opencontainers/runc", "CGO_ENABLED=1", "-tags=netgo,osusergo", "-ldflags=-extldflags=-static"),
	}
	load = &binary{
		env: "OOMWITNESS_WORKLOAD", name: "oomwitness-workload",
		build: workload.Build,
	}
)

// Ours returns the path of this project's shim: $OOMWITNESS_SHIM, or
// containerd-shim-oomwitness-v2 from PATH, or built with go.
func Ours(t testing.TB) string { return ours.findWithLoader(t) }

// OursWithFaults returns the path of a build of our shim that dies at the point
// $OOMWITNESS_FAULT (shim/internal/faultpoint): $OOMWITNESS_SHIM_FAULTS, or
// containerd-shim-oomwitness-faults-v2 from PATH, or built with go.
func OursWithFaults(t testing.TB) string { return faults.findWithLoader(t) }

// Command returns the path of this project's command: $OOMWITNESS_COMMAND, or oomwitness from
// PATH, or built with go.
func Command(t testing.TB) string { return command.find(t) }

// Stock returns the path of upstream's shim: $STOCK_SHIM, or containerd-shim-runc-v2 from PATH,
// or built with go.
func Stock(t testing.TB) string { return stock.find(t) }

// Runc returns the path of runc: $RUNC, or from PATH, or built with go.
func Runc(t testing.TB) string { return runc.find(t) }

// WorkloadBinary returns the path of the workload: $OOMWITNESS_WORKLOAD, or oomwitness-workload
// from PATH, or built with gcc.
func WorkloadBinary(t testing.TB) string { return load.find(t) }

func (b *binary) find(t testing.TB) string {
	t.Helper()
	b.once.Do(func() { b.path, b.err = b.lookup(t.Context()) })
	if b.err != nil {
		t.Fatalf("%s is needed (set %s, or have it on PATH): %v", b.name, b.env, b.err)
	}
	return b.path
}

// findWithLoader returns the path of a shim. A shim that was built here has the command that
// loads the ledger in the same folder.
func (b *binary) findWithLoader(t testing.TB) string {
	t.Helper()
	path := b.find(t)
	if dir, err := buildDir(); err == nil && filepath.Dir(path) == dir {
		Command(t)
	}
	return path
}

func (b *binary) lookup(ctx context.Context) (string, error) {
	if path := os.Getenv(b.env); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", b.env, err)
		}
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath(b.name); err == nil {
		return filepath.Abs(path)
	}
	return buildCached(ctx, b.name, b.build)
}

// buildDir returns a folder in the clone's own cache: another clone may have other sources.
func buildDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(filepath.Dir(dir), ".cache", "shimtest"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory: run the tests in their folder")
		}
	}
}

// buildCached builds a file that another test process may be building or running at the same
// time.
func buildCached(ctx context.Context, name string, build func(context.Context, string) error) (string, error) {
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	path := filepath.Join(dir, name)
	if err := build(ctx, path+".new"); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

// buildOurs builds this project's shim as make build does.
func buildOurs(tags string) func(context.Context, string) error {
	const shim = "cmd/containerd-shim-oomwitness-v2"
	return func(ctx context.Context, path string) error {
		dir, err := buildDir()
		if err != nil {
			return err
		}
		root, mod := filepath.Join(dir, "../.."), path+".mod"
		if out, err := exec.CommandContext(ctx, filepath.Join(root, shim, "modfile.sh"), mod).CombinedOutput(); err != nil {
			return fmt.Errorf("go.mod of %s: %w\n%s", shim, err, out)
		}
		return goBuild("./"+shim, "CGO_ENABLED=0", "-C="+root, "-tags="+tags, "-modfile="+mod)(ctx, path)
	}
}

// goBuild returns a function that builds a package of this module or of its tools. Arguments
// without a leading dash go to the environment.
func goBuild(pkg string, args ...string) func(context.Context, string) error {
	return func(ctx context.Context, path string) error {
		cmd := exec.CommandContext(ctx, "go", "build")
		cmd.Env = os.Environ()
		for _, arg := range args {
			if arg[0] == '-' {
				cmd.Args = append(cmd.Args, arg)
			} else {
				cmd.Env = append(cmd.Env, arg)
			}
		}
		cmd.Args = append(cmd.Args, "-o", path, pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
		return nil
	}
}
