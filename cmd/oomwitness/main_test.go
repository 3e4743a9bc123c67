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
	whycli "github.com/oomwitness/oomwitness/why/cli"
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

func TestErrorsNameTheThing(t *testing.T) {
	for _, test := range []struct {
		want string
		args []string
	}{
		{`unknown command "bogus"`, []string{"bogus"}},
		{`unknown command "x"`, []string{"install", "x"}},
		{`--output "yaml": allowed are text and json`, []string{"check", "-o", "yaml"}},
		{`--output "": allowed are text and json`, []string{"version", "-o", ""}},
		{`--root "/nowhere"`, []string{"check", "--root", "/nowhere"}},
		{`--bin-dir "bin": has to be an absolute path`, []string{"check", "--bin-dir", "bin"}},
		{`--address "unix:///x"`, []string{"check", "--address", "unix:///x"}},
		{`runtime name "A"`, []string{"check", "--runtime-name", "A"}},
		{`--config-version "1": allowed are auto, 2 and 3`, []string{"install", "--config-version", "1", "--dry-run"}},
		{`--systemd-unit "yes": allowed are auto, true and false`, []string{"install", "--systemd-unit", "yes", "--root", "/tmp", "--shim", "/proc/self/exe"}},
		{`--dir "x": has to be an absolute path`, []string{"unload", "--dir", "x"}},
		{`--tier "D": allowed are auto, A, B and C`, []string{"load", "--tier", "D"}},
		{`--cause "host": allowed are container, pod,`, []string{"trace", "--cause", "node,host"}},
		{`--comm "[": not a pattern`, []string{"trace", "--comm", "["}},
		{`--since "-1s": allowed are how long ago, such as 90s, 12h, 1d`, []string{"trace", "--since", "-1s"}},
		{`--since "": is empty`, []string{"trace", "--since", ""}},
		{`--pod "Web": allowed are a name of lower-case letters`, []string{"trace", "--pod", "Web"}},
		{`--namespace "": is empty`, []string{"trace", "--namespace", ""}},
		{`--namespace "a/b": allowed are`, []string{"trace", "-n", "a/b"}},
		{`--agent "x": has to be host:port`, []string{"trace", "--agent", "x"}},
		{`--output "yaml": allowed are text, wide, json`, []string{"trace", "-o", "yaml"}},
		{`--wide with --output "json"`, []string{"trace", "--wide", "-o", "json"}},
		{`--address "x": has to be an absolute path`, []string{"trace", "--address", "x"}},
		{"unknown flag: --nope", []string{"uninstall", "--nope"}},
		{"0 arguments: allowed is one", []string{"why"}},
		{`"a/b/c/d": allowed are the beginning of a container's ID, POD`, []string{"why", "a/b/c/d"}},
		{`--output "yaml": allowed are text, wide, json`, []string{"why", "x", "-o", "yaml"}},
		{`--container "A": allowed are lower-case letters`, []string{"why", "x", "-c", "A"}},
		{`--state "x": has to be an absolute path`, []string{"why", "x", "--state", "x"}},
	} {
		_, err := execute(t, test.args...)
		require.ErrorContains(t, err, test.want)
		require.Equal(t, why.StatusUsage, whycli.Status(err), "%v", err)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	out, err := execute(t)
	require.NoError(t, err)
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

func TestNodeAndClusterFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"--node: has to name this Node":                        {"node", "setup", "--node", ""},
		`--restart "maybe": allowed are systemd and none`:      {"node", "setup", "--node", "a", "--restart", "maybe"},
		"--timeout 0s: has to be more than nothing":            {"node", "remove", "--node", "a", "--timeout", "0s"},
		`--host "host": has to be an absolute path`:            {"node", "remove", "--node", "a", "--host", "host"},
		`runtime name "runc": containerd has its own`:          {"node", "setup", "--node", "a", "--runtime-name", "runc"},
		"--settings: open /nowhere":                            {"node", "setup", "--node", "a", "--settings", "/nowhere"},
		"--namespace and --daemonset: have to name":            {"cluster", "remove"},
		"--timeout -1s: has to be more than nothing":           {"cluster", "remove", "--namespace", "a", "--timeout", "-1s"},
		`runtime name "default": containerd has its own`:       {"cluster", "remove", "--namespace", "a", "--runtime-name", "default"},
		"API server: stat /nowhere: no such file or directory": {"cluster", "remove", "--namespace", "a", "--kubeconfig", "/nowhere"},
	} {
		_, err := execute(t, args...)
		require.ErrorContains(t, err, want)
	}
}
