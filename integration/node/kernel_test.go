//go:build linux

package node

import (
	"errors"
	"regexp"
	"slices"
	"testing"
)

func TestKernelTable(t *testing.T) {
	for name, want := range map[string]string{
		"linux-image-6.1.0-56-cloud-arm64":          "arm64 6.1",
		"linux-image-6.12.117+deb13-cloud-arm64":    "arm64 6.12",
		"linux-image-6.1.0-56-arm64":                "",
		"linux-image-5.10.0-46-cloud-amd64":         "amd64 5.10",
		"linux-image-6.1.0-56-cloud-amd64":          "amd64 6.1",
		"linux-image-6.12.117+deb13-cloud-amd64":    "amd64 6.12",
		"linux-image-7.2.12+deb14-cloud-amd64":      "amd64 7",
		"linux-image-6.1.0-56-cloud-amd64-dbg":      "",
		"linux-image-6.1.0-56-amd64":                "",
		"linux-image-cloud-amd64":                   "",
		"linux-headers-7.2.12+deb14-cloud-amd64":    "",
		"linux-image-6.12.1-cloud-amd64-unsigned":   "",
		"linux-image-6.1.0-56-cloud-amd64-unsigned": "",
	} {
		var got string
		for _, kernel := range Kernels {
			for _, arch := range []Arch{AMD64, ARM64} {
				if regexp.MustCompile(kernel.packages(arch)).MatchString(name) {
					got += string(arch) + " " + kernel.Name
				}
			}
		}
		if got != want {
			t.Errorf("%s is of kernel %q, want %q", name, got, want)
		}
	}
	if _, err := kernelByName(DefaultKernel); err != nil {
		t.Error(err)
	}
}

func TestKernelParts(t *testing.T) {
	got := kernelParts("linux-image-7.2-cloud-amd64",
		"dracut | initramfs-tools (>= 0.120), linux-base-7.2-cloud-amd64 (= 1), linux-modules-7.2-cloud-amd64 (= 1)")
	if want := []string{"linux-base-7.2-cloud-amd64", "linux-modules-7.2-cloud-amd64"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestModuleOrder(t *testing.T) {
	table := parseModules(`kernel/a.ko: kernel/b-c.ko kernel/d.ko
kernel/b-c.ko: kernel/d.ko
kernel/d.ko:
kernel/e.ko: kernel/d.ko
`, "kernel/fs/ext4/ext4.ko\n")
	got, err := table.order([]string{"ext4", "b_c", "a", "e"})
	want := []string{"kernel/d.ko", "kernel/b-c.ko", "kernel/a.ko", "kernel/e.ko"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := table.order([]string{"f"}); err == nil {
		t.Error("a missing module is no error")
	}
}

func TestParseMirrors(t *testing.T) {
	got, err := parseMirrors(`mirror/tools any main
mirror/debian bookworm contrib
mirror/debian bookworm main
mirror/debian bookworm-updates main
mirror/security bookworm-security main
`)
	if want := (mirrors{"mirror/debian", "mirror/security"}); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parseMirrors("mirror/tools any main\n"); !errors.Is(err, errNoMirror) {
		t.Errorf("without mirror: %v", err)
	}
}
