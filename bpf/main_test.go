package bpf_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// helperEnv names the helper that this binary is to be, a process that a test
// needs: see helpers_test.go.
const helperEnv = "BPF_TEST_HELPER"

// bpffs is a BPF filesystem of the tests' own; empty where it can't be had.
var bpffs string

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(runHelper(name, os.Args[1:]))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Getuid() != 0 {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "oomwitness-bpf")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bpffs = filepath.Join(dir, "bpffs")
	if err := os.Mkdir(bpffs, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, "mode=0700"); err != nil {
		fmt.Fprintln(os.Stderr, "no BPF filesystem:", err)
		bpffs = ""
		return m.Run()
	}
	defer func() {
		if err := unix.Unmount(bpffs, unix.MNT_DETACH); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}
