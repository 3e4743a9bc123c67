//go:build linux

package node

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestQemuArgs(t *testing.T) {
	platform := mustPlatform(t, AMD64)
	v := vm{
		platform: platform, kernel: "k", initramfs: "i", accel: AccelTCG, memory: 513, console: "c,d",
		disks: []disk{{"base", "b,1"}}, append: []string{"extra"}, port: true,
	}
	args := v.args()
	for _, want := range []string{
		"q35", "max,-erms,-fsrm", "tcg,thread=multi", "513",
		"if=none,format=raw,snapshot=on,cache=unsafe,id=base,file=b,,1",
		"virtio-blk-pci,drive=base,serial=base",
		"file,id=console,path=c,,d",
		"socket,id=agent,fd=3",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("no %q in %q", want, args)
		}
	}
	for _, want := range []string{"console=ttyS0 ", " tsc=reliable ", " extra"} {
		if !strings.Contains(v.commandLine(), want) {
			t.Errorf("no %q in command line %q", want, v.commandLine())
		}
	}
	if slices.Contains(args, "-numa") {
		t.Errorf("NUMA nodes in %q", args)
	}
	v.second = 128
	for _, want := range []string{
		"memory-backend-ram,id=ram0,size=385M", "memory-backend-ram,id=ram1,size=128M", "node,nodeid=1,memdev=ram1",
	} {
		if !slices.Contains(v.args(), want) {
			t.Errorf("no %q in %q", want, v.args())
		}
	}
	v.accel, v.console, v.port = AccelKVM, "", false
	args = v.args()
	if !slices.Contains(args, "kvm") || !slices.Contains(args, "host") {
		t.Errorf("no hardware virtualisation in %q", args)
	}
	if slices.Contains(args, "virtio-serial-pci") || !slices.Contains(args, "stdio,id=console,signal=off,mux=on") {
		t.Errorf("not a terminal: %q", args)
	}
}

func TestQemuArgsOfARM64(t *testing.T) {
	v := vm{platform: mustPlatform(t, ARM64), kernel: "k", initramfs: "i", accel: AccelTCG, memory: 512}
	for _, want := range []string{"virt,gic-version=3", "neoverse-n1", "tcg,thread=multi"} {
		if !slices.Contains(v.args(), want) {
			t.Errorf("no %q in %q", want, v.args())
		}
	}
	words := strings.Fields(v.commandLine())
	for word, want := range map[string]bool{
		"console=ttyAMA0": true, "panic=-1": true, "console=ttyS0": false, "no5lvl": false, "tsc=reliable": false,
	} {
		if slices.Contains(words, word) != want {
			t.Errorf("command line %q: %s is there: %v", words, word, !want)
		}
	}
	if program := filepath.Base(v.command(t.Context(), t.TempDir()).Args[0]); program != "qemu-system-aarch64" {
		t.Errorf("runs %s", program)
	}
}

func TestMissingPackages(t *testing.T) {
	none := func(string) bool { return false }
	amd64 := mustPlatform(t, AMD64)
	for _, flavour := range []Flavour{Plain, Systemd} {
		missing := missingPackages(prerequisites(flavour, amd64), none)
		if got, want := slices.Contains(missing, "mmdebstrap"), flavour == Systemd; got != want {
			t.Errorf("%s: mmdebstrap needed: %v", flavour, got)
		}
		err := missingError(missing)
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "qemu-system-x86") {
			t.Errorf("%s: %v", flavour, err)
		}
	}
	foreign := missingPackages(prerequisites(Plain, mustPlatform(t, ARM64)), none)
	for pkg, want := range map[string]bool{
		"qemu-system-arm": true, "gcc-aarch64-linux-gnu": true, "libc6-dev-arm64-cross": true,
		"busybox-static": true, "qemu-system-x86": false, "seabios": false,
	} {
		if slices.Contains(foreign, pkg) != want {
			t.Errorf("arm64 needs %s: %v", pkg, !want)
		}
	}
	all := func(string) bool { return true }
	if missing := missingPackages(prerequisites(Plain, amd64), all); len(missing) > 0 {
		t.Errorf("missing %q", missing)
	}
}
