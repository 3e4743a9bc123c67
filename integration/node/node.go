//go:build linux

// Package node prepares and runs the throwaway virtual machine of the tests that need a node:
// QEMU, a Debian kernel, containerd and runc from this module's tools.
package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Flavour is the kind of guest.
type Flavour string

// The flavours: busybox as init with the cgroupfs driver, systemd, and systemd with a
// Kubernetes cluster of this one node.
const (
	Plain   Flavour = "plain"
	Systemd Flavour = "systemd"
	Kube    Flavour = "kube"
)

// debian reports whether the guest is a Debian with systemd.
func (f Flavour) debian() bool { return f == Systemd || f == Kube }

// trees returns the folders of the guest's own files.
func (f Flavour) trees() []string {
	if f == Kube {
		return []string{"common", string(Systemd), string(Kube)}
	}
	return []string{"common", string(f)}
}

// DefaultMemory returns the memory that the guest needs, MiB.
func (f Flavour) DefaultMemory() int {
	if f == Kube {
		return 4096
	}
	return 2048
}

// Defaults of Config.
const (
	DefaultFlavour = Plain
	DefaultTimeout = 20 * time.Minute
)

const modulePath = "github.com/oomwitness/oomwitness"

// steps is the number of steps that progress lines count to.
const steps = 6

// ErrNoRepo reports a working directory outside the repository.
var ErrNoRepo = errors.New("not inside the oomwitness repository")

// Config describes a node.
type Config struct {
	// Repo is the root of the repository.
	Repo string
	// Cache is the folder of everything downloaded and built, and of the logs of failed runs.
	Cache string
	// Arch, Flavour, Kernel (a name in Kernels) and Memory (MiB) describe the
	// guest; the default architecture if empty.
	Arch    Arch
	Flavour Flavour
	Kernel  string
	Memory  int
	// SecondNode is the memory of the second NUMA node, MiB: half of Memory if 0.
	SecondNode int
	// Append are words that are added to the kernel's command line.
	Append []string
	// Accel is tcg, kvm or auto.
	Accel string
	// Progress gets lines for people.
	Progress io.Writer
}

// secondNode returns the memory of the second NUMA node, MiB.
func (c Config) secondNode() int {
	if c.SecondNode == 0 {
		return c.Memory / 2
	}
	return c.SecondNode
}

// Validate returns an error for the first setting that cannot work.
func (c Config) Validate() error {
	if c.Flavour != Plain && !c.Flavour.debian() {
		return fmt.Errorf("unknown flavour %q: have %s, %s, %s", c.Flavour, Plain, Systemd, Kube)
	}
	platform, err := c.Arch.platform()
	if err != nil {
		return err
	}
	if platform.foreign() && (c.Flavour == Kube || c.Accel == AccelKVM) {
		return fmt.Errorf("%s is emulated here, and has flavours %s and %s only", platform.arch, Plain, Systemd)
	}
	if _, err := kernelByName(c.Kernel); err != nil {
		return err
	}
	if c.Memory < 256 {
		return fmt.Errorf("memory of %d MiB is too little: a node needs 256", c.Memory)
	}
	if c.SecondNode < 0 || c.SecondNode > 0 && c.Memory-c.SecondNode < 256 {
		return fmt.Errorf("second NUMA node of %d MiB: have %d in all, of which the first needs 256", c.SecondNode, c.Memory)
	}
	switch c.Accel {
	case AccelTCG, AccelKVM, AccelAuto:
		return nil
	default:
		return fmt.Errorf("unknown acceleration %q: have %s, %s, %s", c.Accel, AccelTCG, AccelKVM, AccelAuto)
	}
}

// FindRepo returns the root of the repository that contains dir.
func FindRepo(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			first, _, _ := strings.Cut(string(text), "\n")
			if strings.TrimSpace(first) == "module "+modulePath {
				return dir, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", ErrNoRepo
		}
	}
}

// DefaultCache returns the cache folder inside the repository.
func DefaultCache(repo string) string { return filepath.Join(repo, ".cache", "node") }

// step prints a progress line.
func (c Config) step(n int, format string, args ...any) {
	fmt.Fprintf(c.Progress, "[%d/%d] %s\n", n, steps, fmt.Sprintf(format, args...))
}

// guest returns the guest's name for people.
func (c Config) guest() string {
	if p := c.platform(); p.foreign() {
		return string(p.arch) + " " + string(c.Flavour)
	}
	return string(c.Flavour)
}
