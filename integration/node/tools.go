//go:build linux

package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/oomwitness/oomwitness/integration/guest"
)

// Import paths of the tools that every guest has.
const (
	containerdCmd = "github.com/containerd/containerd/v2/cmd/containerd"
	ctrCmd        = "github.com/containerd/containerd/v2/cmd/ctr"
	runcShimCmd   = "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	runcCmd       = "github.com/opencontainers/runc"
)

// ensureTools builds the tools of this module unless the cache has those of
// the same go.mod and go.sum. It returns the folder of the programs.
func (c Config) ensureTools(ctx context.Context) (string, error) {
	module := filepath.Join(c.Repo, "integration")
	inputs := []string{runtime.Version()}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", fmt.Errorf("read module: %w", err)
		}
		inputs = append(inputs, string(text))
	}
	dir := filepath.Join(c.Cache, "tools-"+key(inputs...))
	if exists(dir) {
		c.step(3, "tools")
		return dir, used(dir, "tools-")
	}
	err := build(dir, func(tmp string) error {
		c.step(3, "tools: building containerd, ctr and the stock shim")
		if err := goBuild(ctx, module, tmp, false, containerdCmd, ctrCmd, runcShimCmd); err != nil {
			return err
		}
		c.step(3, "tools: building runc")
		return goBuild(ctx, module, tmp, true, runcCmd)
	})
	if err != nil {
		return "", fmt.Errorf("tools: %w", err)
	}
	return dir, used(dir, "tools-")
}

// ensureAgent builds the guest's agent unless the cache has it.
func (c Config) ensureAgent(ctx context.Context) (string, error) {
	hash, err := guest.Hash("agent", "wire")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(c.Cache, "agent-"+key(runtime.Version(), hash))
	if exists(dir) {
		return filepath.Join(dir, "agent"), used(dir, "agent-")
	}
	c.step(3, "tools: building the guest's agent")
	err = build(dir, func(tmp string) error {
		return goBuild(ctx, filepath.Join(c.Repo, "integration"), tmp, false, guest.AgentPackage)
	})
	if err != nil {
		return "", fmt.Errorf("agent: %w", err)
	}
	return filepath.Join(dir, "agent"), used(dir, "agent-")
}

// goBuild builds static, stripped programs into a folder. Only runc has C.
func goBuild(ctx context.Context, module, dir string, cgo bool, packages ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make tools folder: %w", err)
	}
	enabled, flags := "CGO_ENABLED=0", "-s -w"
	if cgo {
		enabled, flags = "CGO_ENABLED=1", "-s -w -extldflags -static"
	}
	args := append([]string{"build", "-trimpath", "-ldflags", flags, "-o", dir + "/"}, packages...)
	// An empty GOFLAGS: a caller's -race or -cover would need libraries.
	env := []string{enabled, "GOOS=linux", "GOARCH=amd64", "GOFLAGS=", "GOWORK=off"}
	if _, err := output(ctx, module, env, "go", args...); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}
