//go:build linux

package node

import (
	"fmt"
	"path/filepath"
	"runtime"
)

// Arch is the architecture of the guest, as Go and Debian name it. The machine
// itself is taken to be an amd64.
type Arch string

// The architectures. A guest of another architecture than the machine's is emulated, and its
// programs are cross-built.
const (
	AMD64       Arch = "amd64"
	ARM64       Arch = "arm64"
	DefaultArch      = AMD64
)

// platform has what differs between the guests of two architectures.
type platform struct {
	arch    Arch
	qemu    string // program
	machine string // QEMU's board
	cpu     string // emulated
	words   []string
	// compiler is the program that builds C for the guest, empty for Go's own choice,
	// and libraries the folder of Debian's libraries in a sysroot.
	compiler, libraries string
	// needs are the prerequisites of this architecture alone.
	needs []prerequisite
}

var platforms = []platform{{
	arch:    AMD64,
	qemu:    "qemu-system-x86_64",
	machine: "q35",
	// Without these flags off, the kernel clears and copies pages byte by byte under tcg.
	cpu:   "max,-erms,-fsrm",
	words: []string{"console=ttyS0", "no5lvl"},
	needs: []prerequisite{
		{"qemu-system-x86_64", "qemu-system-x86"},
		{"gcc", "gcc"},
		{"/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"},
		{"/usr/lib/x86_64-linux-gnu/libseccomp.a", "libseccomp-dev"},
		{"/usr/share/seabios/bios-256k.bin", "seabios"},
	},
}, {
	arch:    ARM64,
	qemu:    "qemu-system-aarch64",
	machine: "virt,gic-version=3",
	// A server's CPU with atomic instructions and without pointer authentication,
	// whose emulation is slow.
	cpu:       "neoverse-n1",
	words:     []string{"console=ttyAMA0", "kpti=off"},
	compiler:  "aarch64-linux-gnu-gcc",
	libraries: "usr/lib/aarch64-linux-gnu",
	needs: []prerequisite{
		{"qemu-system-aarch64", "qemu-system-arm"},
		{"aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"},
		{"/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross"},
	},
}}

// platform returns the row of the architecture in the table; "" means the default.
func (a Arch) platform() (platform, error) {
	if a == "" {
		a = DefaultArch
	}
	for _, p := range platforms {
		if p.arch == a {
			return p, nil
		}
	}
	return platform{}, fmt.Errorf("unknown architecture %q: have %s, %s", a, AMD64, ARM64)
}

// foreign reports whether the guest's programs cannot run on the machine.
func (p platform) foreign() bool { return p.arch != DefaultArch }

// native reports whether the machine's hardware can run the guest.
func (p platform) native() bool { return string(p.arch) == runtime.GOARCH }

// platform returns the architecture's row. Validate refuses an architecture without one.
func (c Config) platform() platform {
	p, _ := c.Arch.platform()
	return p
}

// archCache returns the folder of files that depend on the architecture: the cache itself for
// the default architecture.
func (c Config) archCache() string {
	if p := c.platform(); p.foreign() {
		return filepath.Join(c.Cache, string(p.arch))
	}
	return c.Cache
}
