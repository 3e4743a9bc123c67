package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// execute runs one command line.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), args, &stdout, &stderr)
	require.Empty(t, stderr.String(), "the caller prints errors")
	return stdout.String(), err
}

func TestInstallOutput(t *testing.T) {
	root := t.TempDir()
	shim := filepath.Join(t.TempDir(), "shim")
	require.NoError(t, os.WriteFile(shim, []byte("\x7fELF"), 0o755))
	install := []string{"install", "--root", root, "--shim", shim, "--systemd-cgroup", "true", "--containerd-version", "2.4.2"}

	out, err := execute(t, append(install, "--dry-run")...)
	require.NoError(t, err)
	require.Contains(t, out, "create    /usr/local/bin/containerd-shim-oomwitness-v2 (dry run)\n"+
		"create    /etc/containerd/conf.d/oomwitness.toml (dry run)\n")
	_, err = execute(t, install...)
	require.NoError(t, err)
	out, err = execute(t, install...)
	require.NoError(t, err)
	require.Contains(t, out, "unchanged /usr/local/bin/containerd-shim-oomwitness-v2\n"+
		"unchanged /etc/containerd/conf.d/oomwitness.toml\n")
	require.Contains(t, out, "note: containerd does not read /etc/containerd/conf.d yet")
	out, err = execute(t, "uninstall", "--root", root)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(out, "remove    /etc/containerd/conf.d/oomwitness.toml\n"+
		"remove    /usr/local/bin/containerd-shim-oomwitness-v2\n"+
		"remove    /usr/local/bin/oomwitness\n"+
		"remove    /usr/local/bin/oomwitness.installed\n"+
		"note: not checked by \"containerd config dump\": "), out)
}

func TestCheckOfAnEmptyTreeFails(t *testing.T) {
	out, err := execute(t, "check", "-o", "json", "--root", t.TempDir())
	require.ErrorContains(t, err, "check failed: kernel, ")
	var report struct {
		Schema   int
		OK       bool
		Findings []struct{ Name, Status, Found, Do string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, 1, report.Schema)
	require.False(t, report.OK)
	require.Len(t, report.Findings, 18, "19 without restart, which needs a drop-in")

	out, err = execute(t, "check", "--root", t.TempDir())
	require.Error(t, err)
	require.Contains(t, out, "STATUS  CHECK ")
}

func TestVersion(t *testing.T) {
	out, err := execute(t, "version", "-o", "json")
	require.NoError(t, err)
	var build map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &build))
	require.ElementsMatch(t, []string{"version", "commit", "go", "containerd"}, keys(build))
	out, err = execute(t, "version")
	require.NoError(t, err)
	require.Contains(t, out, "(linked)")
}

func keys(m map[string]string) []string {
	var out []string
	for key := range m {
		out = append(out, key)
	}
	return out
}

func TestHelpNamesEveryCommand(t *testing.T) {
	out, err := execute(t)
	require.NoError(t, err)
	for _, status := range []string{"1  a failure", "2  a wrong command line", "3  why: nothing", "5  why: the container was OOM-killed"} {
		require.Contains(t, out, "\n  "+status)
	}
	for _, command := range []string{"check", "load", "unload", "trace", "install", "uninstall", "version"} {
		require.Contains(t, out, "\n  "+command)
		help, err := execute(t, command, "--help")
		require.NoError(t, err)
		require.Contains(t, help, "Usage:")
	}
}

func TestSettingsThatTheShimWouldRefuse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte("\nreport = \"sometimes\"\n"), 0o644))
	_, err := execute(t, "node", "setup", "--node", "a", "--settings", file)
	require.ErrorContains(t, err, "--settings "+file+":2: report: ")
}

// TestWhyByLog: of a container that is known by containerd's log alone, why has the verdict,
// and says what the log lacks. Without a log why says so.
func TestWhyByLog(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "containerd.log")
	require.NoError(t, os.WriteFile(log, []byte(`time="2026-01-02T03:04:05.6Z" level=info msg=verdict acked=true cause=pod cgroup_gone=false container=3f2a5c1d `+
		"ended=oom evidence=ledger init_victim=yes kills=1 lineage=init oom=true pid=7 rule=1 status=137 tier=A took=1ms\n"), 0o600))
	alone := []string{"--spool", dir, "--state", dir, "--dir", dir, "--address", ""}
	out, errs, status := clitest.Run(t, append([]string{"why", "3f2a", "--log", log}, alone...)...)
	require.Equal(t, why.StatusOOM, status, errs)
	require.Contains(t, out, "container 3f2a5c1d: OOMKilled, ")
	require.Contains(t, out, "ended by     the OOM killer: the pod's memory limit\n")
	require.Contains(t, out, "limit not known, because containerd's log does not have it")
	require.Contains(t, out, "note: containerd's log ("+log)
	_, errs, status = clitest.Run(t, append([]string{"why", "3f2a", "--log", dir}, alone...)...)
	require.Equal(t, why.StatusUsage, status)
	require.Contains(t, errs, `--log "`+dir+`": allowed is a regular file`)
	require.Equal(t, 1, strings.Count(errs, "\n"))
}
