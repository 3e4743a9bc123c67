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
//	groups ROUNDS SIZE [N]       memory.oom.group kills as many processes so often in a cgroup below, then exit N (1)
//	sharer-init                  a child that shares init's memory hogs
//	sharer-child [N]             wait for a child that shares the memory of the one that hogs, then exit N (1)
//	leaderless                   the first thread ends, another hogs
//	dying [N [MiB]]              reach the limit while the process to be killed is dying already, then exit N (1)
//	ending [N]                   a child hogs when init is exiting N (1)
//	storm [COUNT [N]]            so many children hog one after the other (200), then exit N (1)
//	bind-node [NODE]             hog the memory of one NUMA node (1), by a memory policy
//	gulp [MiB]                   hog by huge pages, which is faster
//	fill-until PID               take memory until that process has ended, say "ready", hold it
//	term-hog                     say "ready", hog at SIGTERM
//	trap-term N                  say "ready", exit N at SIGTERM
//	child-oom-trap N             child-oom-sleep that exits N at SIGTERM, SIGINT, SIGQUIT, SIGUSR1 and RTMIN+3
//	term-child-oom [N [COUNT]]   so many children hog until they are killed (0), say "ready"; at SIGTERM one more, then exit N (1)
//	fill FILE [MiB]              write a file (0 or none: until that fails), say "ready", exit 0 at SIGTERM
//	cat                          copy stdin to stdout
//	shape NAME [N [DEPTH]]       a process hogs until it is killed, then exit N (1). NAME says which: the last of a chain
//	                             of so many (2), an orphan, a daemon (an orphan in a session of its own), one of a subreaper,
//	                             in a session of its own, a thread without the first thread, a vfork, the process 1 of a PID
//	                             namespace
//	left NAME [DEPTH]            the same without init: end as the first process of that shape does
//
// It exits 99 when it could not do what it was asked for.
package workload

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Path is the path of the program in the root filesystem.
const Path = "/workload"

//go:embed *.c *.h
var source embed.FS

// Build compiles the program to path with gcc.
func Build(ctx context.Context, path string) error {
	dir, err := os.MkdirTemp("", "workload-")
	if err != nil {
		return fmt.Errorf("build workload: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, source); err != nil {
		return fmt.Errorf("build workload: %w", err)
	}
	args := []string{"-static", "-pthread", "-O2", "-Wall", "-Wextra", "-o", path}
	files, err := filepath.Glob(filepath.Join(dir, "*.c"))
	if err != nil {
		return fmt.Errorf("build workload: %w", err)
	}
	cmd := exec.CommandContext(ctx, "gcc", append(args, files...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build workload: %w\n%s", err, out)
	}
	return nil
}

// Rootfs makes a root filesystem in dir. The program binary is its only file.
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
