package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// asNobody returns a function that runs the program as a user without rights.
func asNobody(t *testing.T) func(args ...string) (stdout, stderr string, status int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	dir, err := os.MkdirTemp("", "oomwitness-nobody-") // other users enter no folder of t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "oomwitness")
	from, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer from.Close()
	to, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(to, from)
	require.NoError(t, err)
	require.NoError(t, to.Close())
	return func(args ...string) (string, string, int) {
		cmd := clitest.Command(t, args...)
		cmd.Path, cmd.Dir = program, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return clitest.Output(t, cmd)
	}
}

// TestAsRoot: without the rights of root a command says in one line to run it as root, and what
// could not be opened.
func TestAsRoot(t *testing.T) {
	run := asNobody(t)
	dir := t.TempDir()
	for _, row := range [][]string{
		{"stat " + dir + "/exits: permission denied", "why", "x", "--spool", dir + "/exits", "--state", dir, "--address", ""},
		{"write to /usr/local/bin: permission denied", "install"},
		{"write to /usr/local: permission denied", "install", "--dry-run", "--bin-dir", "/usr/local/none/bin"},
		{"write to /usr/bin: permission denied", "uninstall", "--bin-dir", "/usr/bin"},
		{"write to " + dir + "/usr/bin: permission denied", "uninstall", "--dry-run", "--root", dir, "--bin-dir", "/usr/bin"},
		{"mkdir " + dir + ": permission denied", "unload", "--lock-dir", dir},
		{"mkdir " + dir + ": permission denied", "trace", "--lock-dir", dir},
		{unwritableBPF(t), "load", "--dir", "/sys/fs/bpf/oomwitness-nobody"},
		{"find the OOM ledger: " + dir + ": permission denied", "trace", "--follow=false", "--dir", dir},
	} {
		want := row[0]
		out, errs, status := run(row[1:]...)
		require.Equal(t, why.StatusError, status, errs)
		require.Empty(t, out)
		require.Contains(t, errs, want)
		require.Contains(t, errs, "run this as root")
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	}
}

// unwritableBPF is why another user loads nothing into /sys/fs/bpf. systemd mounts a file system
// there that is root's alone, mount(8) one with a folder for all, and on a machine without
// systemd often nothing is mounted there.
func unwritableBPF(t *testing.T) string {
	t.Helper()
	const dir = "/sys/fs/bpf"
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &fs))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	switch {
	case fs.Type != unix.BPF_FS_MAGIC:
		return "mount the BPF filesystem on " + dir + ": operation not permitted"
	case info.Mode().Perm()&0o002 != 0:
		return "lock the OOM ledger: "
	}
	return "mkdir " + dir + "/oomwitness-nobody: permission denied"
}

// TestWithoutRoot: what needs no rights is done without.
func TestWithoutRoot(t *testing.T) {
	run := asNobody(t)
	out, errs, status := run("install", "--print", "toml")
	require.Zero(t, status, errs)
	require.NotEmpty(t, out)
	out, _, _ = run("check", "--bin-dir", "/nowhere")
	require.Contains(t, out, "-> run this command as root, who sees every file; then: run: oomwitness install")
	_, errs, status = run("install", "--root", "x")
	require.Equal(t, why.StatusUsage, status, errs)
}

// TestAgentAsAnotherUser: the agent starts, and its log says first what is missing.
func TestAgentAsAnotherUser(t *testing.T) {
	_, errs, _ := asNobody(t)("agent", "--kubeconfig", "/dev/null", "--node-name", "a")
	require.Contains(t, errs, "no configuration has been provided", "the control: the agent came as far as its kubeconfig")
	require.Contains(t, errs, `"msg":"run this as root: the ledger, the journal and containerd's socket are root's`)
	_, errs, _ = clitest.Run(t, "agent", "--kubeconfig", "/dev/null", "--node-name", "a")
	require.NotContains(t, errs, "run this as root")
}

// TestWhyAbsent: the error names the flag whose file is not there, and the file.
func TestWhyAbsent(t *testing.T) {
	dir := t.TempDir()
	for flag, status := range map[string]int{"--log": why.StatusUsage, "--spool": why.StatusNotFound, "--state": why.StatusNotFound, "--dir": why.StatusNotFound} {
		out, errs, got := clitest.Run(t, "why", "x", "--address", "", "--spool", dir, "--dir", dir, flag, dir+"/none")
		require.Equal(t, status, got, errs)
		require.Empty(t, out)
		require.True(t, strings.HasSuffix(errs, flag+" \""+dir+"/none\": no such file or directory\n"), errs)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	}
}

// TestUsageWithoutRights: a wrong value is refused as such, whoever runs the command.
func TestUsageWithoutRights(t *testing.T) {
	run := asNobody(t)
	for _, row := range [][]string{
		{`--config-version "x": allowed are auto, 2, 3`, "install", "--config-version", "x"},
		{`--systemd-cgroup "x": allowed are auto, true, false`, "install", "--systemd-cgroup", "x"},
		{`--systemd-unit "x": allowed are auto, true, false`, "install", "--systemd-unit", "x"},
		{`--containerd-version: cannot read the version "x"`, "install", "--containerd-version", "x"},
		{`--containerd-version: cannot read the version "x"`, "uninstall", "--containerd-version", "x"},
	} {
		out, errs, status := run(row[1:]...)
		require.Equal(t, why.StatusUsage, status, errs)
		require.Empty(t, out)
		require.Contains(t, errs, row[0])
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	}
}
