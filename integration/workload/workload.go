// Package workload builds the program that the test containers run, and the
// root filesystem around it. The program is static and alone in there; its
// first argument selects what it does:
//
//	hog [MiB] [ready-file]       touch memory (0 or none: without end), say "ready", hold it until SIGTERM
//	sleep SECONDS                sleep, exit 0
//	exit N                       exit N
//	exit-after SECONDS N         sleep, exit N
//	child-oom-exit N [delay-ms]  a child hogs until it is killed, then exit N
//	child-oom-sleep              the same, then say "child died" and exit 143 at SIGTERM
//	child-oom-pause              the same, and ignore SIGTERM
//	multi N                      N idle children, then one that hogs; for memory.oom.group
//	nested MiB [N]               a child hogs in a limited cgroup below the container's, then exit N (1)
//	trap-term N                  say "ready", exit N at SIGTERM
//	cat                          copy stdin to stdout
//
// It exits 99 when it could not do what it was asked for.
package workload

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Path is where the program is inside the root filesystem.
const Path = "/workload"

//go:embed workload.c
var source []byte

// Build compiles the program to path with gcc.
func Build(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "gcc", "-static", "-O2", "-Wall", "-Wextra", "-x", "c", "-o", path, "-")
	cmd.Stdin = bytes.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build workload: %w\n%s", err, out)
	}
	return nil
}

// Rootfs makes a root filesystem in dir with the program binary as its only
// file.
func Rootfs(dir, binary string) error {
	for _, name := range []string{"proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("make rootfs: %w", err)
		}
	}
	if err := copyFile(filepath.Join(dir, Path), binary); err != nil {
		return fmt.Errorf("make rootfs: %w", err)
	}
	return nil
}

func copyFile(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = io.Copy(dst, src)
	return err
}
