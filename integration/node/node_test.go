//go:build linux

package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func valid() Config {
	return Config{Flavour: Plain, Kernel: DefaultKernel, Memory: DefaultFlavour.DefaultMemory(), Accel: AccelAuto}
}

func TestValidate(t *testing.T) {
	for _, arch := range []Arch{"", AMD64, ARM64} {
		c := valid()
		c.Arch = arch
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(*Config){
		"flavour": func(c *Config) { c.Flavour = "fancy" },
		"kernel":  func(c *Config) { c.Kernel = "2.4" },
		"memory":  func(c *Config) { c.Memory = 16 },
		"accel":   func(c *Config) { c.Accel = "warp" },
		"NUMA":    func(c *Config) { c.SecondNode = c.Memory - 255 },
		"arch":    func(c *Config) { c.Arch = "vax" },
		"cluster": func(c *Config) { c.Arch, c.Flavour = ARM64, Kube },
		"kvm":     func(c *Config) { c.Arch, c.Accel = ARM64, AccelKVM },
	} {
		c := valid()
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("wrong %s is accepted", name)
		}
	}
}

func TestFindRepo(t *testing.T) {
	root := t.TempDir()
	if _, err := FindRepo(root); !errors.Is(err, ErrNoRepo) {
		t.Fatalf("outside: %v", err)
	}
	inner := filepath.Join(root, "integration", "node")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, module := range map[string]string{"": modulePath, "integration": modulePath + "/integration"} {
		text := []byte("module " + module + "\n\ngo 1.26\n")
		if err := os.WriteFile(filepath.Join(root, dir, "go.mod"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := FindRepo(inner)
	if err != nil || got != root {
		t.Fatalf("found %q, %v; want %q", got, err, root)
	}
}

func TestParseFile(t *testing.T) {
	for text, want := range map[string]File{
		"a=b":                        {"a", "b"},
		"/x/shim=bin/shim":           {"/x/shim", "bin/shim"},
		"a=/opt/oomwitness/conf.d/b": {"a", "conf.d/b"},
	} {
		got, err := ParseFile(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a", "a=", "=b", "a=../b", "a=/etc/b", "a=.", "a=node.json"} {
		if _, err := ParseFile(text); !errors.Is(err, ErrFileFlag) {
			t.Errorf("%q: error %v", text, err)
		}
	}
}
