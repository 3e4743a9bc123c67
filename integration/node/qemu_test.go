//go:build linux

package node

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestQemuArgs(t *testing.T) {
	v := vm{
		kernel: "k", initramfs: "i", accel: AccelTCG, memory: 513, console: "c,d",
		disks: []disk{{"base", "b,1"}}, append: []string{"extra"}, port: true,
	}
	args := v.args()
	for _, want := range []string{
		"tcg,thread=multi", "513",
		"if=none,format=raw,snapshot=on,cache=unsafe,id=base,file=b,,1",
		"virtio-blk-pci,drive=base,serial=base",
		"file,id=console,path=c,,d",
		"socket,id=agent,fd=3",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("no %q in %q", want, args)
		}
	}
	if !strings.HasSuffix(v.commandLine(), " extra") {
		t.Errorf("command line %q", v.commandLine())
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

func TestMissingPackages(t *testing.T) {
	none := func(string) bool { return false }
	for _, flavour := range []Flavour{Plain, Systemd} {
		missing := missingPackages(prerequisites(flavour), none)
		if got, want := slices.Contains(missing, "mmdebstrap"), flavour == Systemd; got != want {
			t.Errorf("%s: mmdebstrap needed: %v", flavour, got)
		}
		err := missingError(missing)
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "qemu-system-x86") {
			t.Errorf("%s: %v", flavour, err)
		}
	}
	all := func(string) bool { return true }
	if missing := missingPackages(prerequisites(Plain), all); len(missing) > 0 {
		t.Errorf("missing %q", missing)
	}
}
