//go:build linux

package node

import (
	"context"
	"fmt"
	"os"
	"path"
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

const (
	// runcTags are runc's build tags: kubelet asks for a seccomp profile.
	runcTags = "seccomp"
	// shimTags are the stock shim's build tags in containerd's own Makefile.
	shimTags = "no_grpc"
)

// ensureTools builds the tools of this module, unless the cache has the tools of the same
// go.mod and go.sum. It returns the folder of the programs.
func (c Config) ensureTools(ctx context.Context, sysroot string) (string, error) {
	module := filepath.Join(c.Repo, "integration")
	inputs, err := moduleKey(module)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(c.archCache(), "tools-"+key(inputs, runcTags, shimTags))
	if exists(dir) {
		c.step(3, "tools")
		return dir, used(dir, "tools-")
	}
	err = build(dir, func(tmp string) error {
		c.step(3, "tools: building containerd, ctr and the stock shim")
		if err := (goBuild{platform: c.platform(), module: module, dir: tmp}).run(ctx, containerdCmd, ctrCmd); err != nil {
			return err
		}
		if err := (goBuild{platform: c.platform(), module: module, dir: tmp, tags: shimTags}).run(ctx, runcShimCmd); err != nil {
			return err
		}
		c.step(3, "tools: building runc")
		return goBuild{platform: c.platform(), module: module, dir: tmp, cgo: true, tags: runcTags, sysroot: sysroot}.run(ctx, runcCmd)
	})
	if err != nil {
		return "", fmt.Errorf("tools: %w", err)
	}
	return dir, used(dir, "tools-")
}

// ensureProgram builds one of the guest's own programs, unless the cache has it from the same
// sources.
func (c Config) ensureProgram(ctx context.Context, pkg string, sources ...string) (string, error) {
	hash, err := guest.Hash(sources...)
	if err != nil {
		return "", err
	}
	name := path.Base(pkg)
	dir := filepath.Join(c.archCache(), name+"-"+key(runtime.Version(), hash))
	if exists(dir) {
		return filepath.Join(dir, name), used(dir, name+"-")
	}
	c.step(3, "tools: building the guest's %s", name)
	err = build(dir, func(tmp string) error {
		return goBuild{platform: c.platform(), module: filepath.Join(c.Repo, "integration"), dir: tmp}.run(ctx, pkg)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return filepath.Join(dir, name), used(dir, name+"-")
}

// moduleKey returns a key for what this version of Go builds from modules, given by their
// folders.
func moduleKey(modules ...string) (string, error) {
	inputs := []string{runtime.Version()}
	for _, module := range modules {
		for _, name := range []string{"go.mod", "go.sum"} {
			text, err := os.ReadFile(filepath.Join(module, name))
			if err != nil {
				return "", fmt.Errorf("read module: %w", err)
			}
			inputs = append(inputs, string(text))
		}
	}
	return key(inputs...), nil
}

// goBuild builds static, stripped programs into a folder.
type goBuild struct {
	platform platform // amd64 if empty
	module   string   // folder
	dir      string
	cgo      bool // only runc contains C
	tags     string
	set      []string // variables to set, PACKAGE.NAME=VALUE
	sysroot  string   // where C libraries are, empty for the machine's own
}

func (b goBuild) run(ctx context.Context, packages ...string) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return fmt.Errorf("make tools folder: %w", err)
	}
	enabled, flags := "CGO_ENABLED=0", "-s -w"
	if b.cgo {
		enabled, flags = "CGO_ENABLED=1", "-s -w -extldflags -static"
	}
	for _, variable := range b.set {
		flags += " -X " + variable
	}
	args := append([]string{"build", "-trimpath", "-tags", b.tags, "-ldflags", flags, "-o", b.dir + "/"}, packages...)
	if _, err := output(ctx, b.module, append(b.env(), enabled), "go", args...); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}

// env returns the environment of the build. GOFLAGS is empty: -race or -cover of the caller
// would need libraries.
func (b goBuild) env() []string {
	arch := b.platform.arch
	if arch == "" {
		arch = DefaultArch
	}
	env := []string{"GOOS=linux", "GOARCH=" + string(arch), "GOFLAGS=", "GOWORK=off"}
	if b.platform.compiler != "" {
		env = append(env, "CC="+b.platform.compiler)
	}
	if b.sysroot != "" {
		libraries := filepath.Join(b.sysroot, b.platform.libraries)
		// pkg-config leaves the usual folders out, since the compiler knows them: the variables
		// make it print them. CGO_LDFLAGS repeats the folder for Go's cache. The cache knows a
		// package by its variables alone, and would link with the folder of an earlier sysroot.
		env = append(env, "PKG_CONFIG_SYSROOT_DIR="+b.sysroot, "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1",
			"PKG_CONFIG_ALLOW_SYSTEM_LIBS=1", "PKG_CONFIG_LIBDIR="+filepath.Join(libraries, "pkgconfig"),
			"CGO_LDFLAGS=-L"+libraries)
	}
	return env
}
