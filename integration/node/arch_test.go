//go:build linux

package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func mustPlatform(t *testing.T, arch Arch) platform {
	t.Helper()
	p, err := arch.platform()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlatform(t *testing.T) {
	for arch, want := range map[Arch]Arch{"": AMD64, AMD64: AMD64, ARM64: ARM64} {
		if got := mustPlatform(t, arch); got.arch != want {
			t.Errorf("%q is %s", arch, got.arch)
		}
	}
	if _, err := Arch("vax").platform(); err == nil || !strings.Contains(err.Error(), "arm64") {
		t.Errorf("unknown architecture: %v", err)
	}
}

// TestArchCache: the cache of amd64 stays in the place that it had before arm64 was added.
func TestArchCache(t *testing.T) {
	for arch, want := range map[Arch]string{"": "cache", AMD64: "cache", ARM64: "cache/arm64"} {
		if got := (Config{Cache: "cache", Arch: arch}).archCache(); got != want {
			t.Errorf("%q: %s", arch, got)
		}
	}
}

func TestBuildEnv(t *testing.T) {
	amd64 := goBuild{}.env()
	if !slices.Contains(amd64, "GOARCH=amd64") || slices.ContainsFunc(amd64, func(s string) bool { return strings.HasPrefix(s, "CC=") }) {
		t.Errorf("amd64: %q", amd64)
	}
	arm64 := goBuild{platform: mustPlatform(t, ARM64), sysroot: "root"}.env()
	for _, want := range []string{
		"GOARCH=arm64", "CC=aarch64-linux-gnu-gcc", "PKG_CONFIG_SYSROOT_DIR=root",
		"PKG_CONFIG_LIBDIR=root/usr/lib/aarch64-linux-gnu/pkgconfig",
	} {
		if !slices.Contains(arm64, want) {
			t.Errorf("no %q in %q", want, arm64)
		}
	}
}

func TestSettle(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"etc", "usr/bin", "usr/share/base-passwd"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"passwd": "root:*:0:0:root:/root:/bin/bash\n", "group": "root:*:0:\n"} {
		if err := os.WriteFile(filepath.Join(root, "usr/share/base-passwd", name+".master"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := settle(root); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"etc/passwd": {"root:x:0:0:root:/root:/bin/bash", "messagebus:x:100:101::/nonexistent:/usr/sbin/nologin"},
		"etc/group":  {"root:x:0:", "messagebus:x:101:"},
	} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !slices.Contains(strings.Split(string(text), "\n"), line) {
				t.Errorf("no %q in %s: %q", line, name, text)
			}
		}
	}
	if target, err := os.Readlink(filepath.Join(root, "usr/bin/sh")); err != nil || target != "dash" {
		t.Errorf("shell: %s, %v", target, err)
	}
}
