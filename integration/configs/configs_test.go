//go:build linux

// Package configs registers the shim with the real containerd of each version,
// over the ways in which nodes configure it.
package configs

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/stretchr/testify/require"
)

// commandTime limits one run of the command.
const commandTime = time.Minute

// TestConfigs covers each configuration of a node: install merges the handler or refuses.
// containerd starts with the result and keeps every other setting. uninstall restores every
// byte.
func TestConfigs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to start containerd")
	}
	for _, v := range versions() {
		binary := program(t, v)
		for _, s := range shapes() {
			t.Run(v.String()+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				newNode(t, v, s, binary).run()
			})
		}
		t.Run(v.String()+"/its own default", func(t *testing.T) {
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), binary, "config", "default").Output()
			require.NoError(t, err)
			newNode(t, v, shape{name: "its own default", main: string(out), starts: always, refused: merged}, binary).run()
		})
	}
}

// node is a containerd with its configuration, and what install does to the configuration.
type node struct {
	*testing.T
	version version
	shape   shape
	binary  string
	// etc is the folder of the configuration, dir that of everything else.
	etc, dir string
	// shim is the program to install; systemd says that the systemd cgroup driver is set.
	shim    string
	systemd bool
}

func newNode(t *testing.T, v version, s shape, binary string) *node {
	t.Helper()
	// t.TempDir is too long: a socket's path has at most 108 bytes.
	dir, err := os.MkdirTemp("", "configs")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{
		T: t, version: v, shape: s, binary: binary, etc: filepath.Join(dir, "etc"), dir: dir,
		// No pod is started here, so any program can stand for the shim.
		shim: shimtest.Command(t), systemd: true,
	}
	require.NoError(t, os.MkdirAll(n.etc, 0o755))
	if s.main != "" {
		file := n.main()
		if s.link {
			file = filepath.Join(n.etc, "elsewhere", "containerd.conf")
		}
		n.write(file, s.main)
		require.NoError(t, os.Chmod(file, 0o640))
		require.NoError(t, os.Chown(file, 12, 34))
		if s.link {
			require.NoError(t, os.Symlink("elsewhere/containerd.conf", n.main()))
		}
	}
	for name, text := range s.files {
		n.write(filepath.Join(n.etc, name), text)
	}
	return n
}

func (n *node) main() string { return filepath.Join(n.etc, "config.toml") }

func (n *node) write(file, text string) {
	n.Helper()
	require.NoError(n, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(n, os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", n.etc)), 0o644))
}

// run goes through the steps of a registration.
func (n *node) run() {
	before := n.tree()
	if !n.shape.starts(n.version) {
		_, err := start(n.T, n.binary, n.main(), n.dir)
		require.Error(n, err, "the control: containerd does not start with these files")
		n.refused(before, n.shape.refused(n.version), "--containerd-version", n.version.String())
		return
	}
	daemon, err := start(n.T, n.binary, n.main(), n.dir)
	require.NoError(n, err, "the control: containerd starts with these files")
	settings, _ := daemon.settings(n.T)

	if want := n.shape.refused(n.version); want != "" {
		n.refused(before, want)
		return
	}
	n.withoutLeave(before, settings != "")
	out, err := n.command("install", "--edit-config")
	require.NoError(n, err, "%s", out)
	require.NotContains(n, out, "not checked", "containerd's own dump has to be asked")
	again, err := n.command("install", "--edit-config")
	require.NoError(n, err, "%s", again)
	require.NotRegexp(n, `(?m)^(create|update|remove)`, again, "the second time changes nothing")
	daemon.stop()

	daemon, err = start(n.T, n.binary, n.main(), n.dir)
	require.NoError(n, err, "containerd starts with what install wrote")
	with, handlers := daemon.settings(n.T)
	n.compare(settings, with, handlers)
	out, err = n.command("uninstall")
	require.NoError(n, err, "%s", out)
	require.NotContains(n, out, "not checked", "containerd's own dump has to be asked")
	daemon.stop()
	require.Equal(n, before, n.tree(), "uninstall leaves every byte as it was")
	n.result("merged")
}

// result prints the outcome for this shape.
func (n *node) result(what string) {
	n.Helper()
	n.Logf("containerd=%s shape=%q result=%q", n.version, n.shape.name, strings.ReplaceAll(what, n.dir, ""))
}

// withoutLeave installs without the flag that permits edits of the owner's file: no such file
// changes. If containerd would not know the handler, install prints the lines to add.
func (n *node) withoutLeave(before map[string]string, cri bool) {
	n.Helper()
	out, err := n.command("install")
	text := n.shape.main
	switch {
	case n.version.major == 1 && cri:
		require.Error(n, err)
		require.Contains(n, out, "--edit-config")
		require.Contains(n, out, ".containerd.runtimes.oomwitness]")
	case n.version.major > 1 && !strings.Contains(text, "DIR/conf.d"):
		require.NoError(n, err, "%s", out)
		require.Contains(n, out, "/conf.d/*.toml\"")
	}
	for name, was := range before {
		require.Equal(n, was, n.tree()[name], "%s is the owner's", name)
	}
}

// refused wants install to give a reason and to change nothing.
func (n *node) refused(before map[string]string, want string, args ...string) {
	n.Helper()
	out, err := n.command("install", append([]string{"--edit-config"}, args...)...)
	require.Error(n, err, "%s", out)
	require.Contains(n, out, want)
	after := n.tree()
	for name := range after {
		if strings.HasSuffix(name, "/conf.d") {
			delete(after, name) // install makes this folder for the drop-in
		}
	}
	require.Equal(n, before, after, "what is refused changes nothing")
	why := strings.TrimSpace(out)
	n.result("refused: " + why[max(0, strings.Index(why, "oomwitness: ")):])
}

// compare compares CRI's settings before and after install.
func (n *node) compare(before, after string, handlers []string) {
	n.Helper()
	if before == "" {
		require.Empty(n, after, "CRI is disabled")
		return
	}
	var was, is map[string]any
	require.NoError(n, json.Unmarshal([]byte(before), &was))
	require.NoError(n, json.Unmarshal([]byte(after), &is))
	runtimes := is["containerd"].(map[string]any)["runtimes"].(map[string]any)
	ours, _ := runtimes["oomwitness"].(map[string]any)
	require.NotNil(n, ours, "CRI has the handler")
	shim := filepath.Join(n.dir, "bin", "containerd-shim-oomwitness-v2")
	require.Contains(n, []any{ours["runtimePath"], ours["runtimeType"]}, shim)
	require.Equal(n, []any{"oomwitness.io/*"}, ours["PodAnnotations"])
	if n.version.major > 1 {
		require.Contains(n, handlers, "oomwitness")
	}
	delete(runtimes, "oomwitness")
	require.Equal(n, was, is, "every other setting of CRI is as before")
}

// command runs oomwitness on the node.
func (n *node) command(verb string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.Context()), commandTime)
	defer cancel()
	args = append([]string{
		verb, "--containerd-config", n.main(), "--conf-dir", filepath.Join(n.etc, "conf.d"), "--bin-dir", filepath.Join(n.dir, "bin"),
		"--address", filepath.Join(n.dir, "sock"),
	}, args...)
	if verb == "install" {
		args = append(args, "--shim", n.shim, "--systemd-unit", "false",
			"--systemd-cgroup", strconv.FormatBool(n.systemd))
	}
	out, err := exec.CommandContext(ctx, shimtest.Command(n), args...).CombinedOutput()
	return string(out), err
}

// tree returns the configuration: every file with its mode, owner and bytes. The folder of the
// drop-in, which uninstall leaves, is not part of it.
func (n *node) tree() map[string]string {
	n.Helper()
	out := map[string]string{}
	require.NoError(n, filepath.WalkDir(n.etc, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if link, err := os.Readlink(name); err == nil {
			out[name] = "-> " + link
			return nil
		}
		data, err := os.ReadFile(name)
		owner := info.Sys().(*syscall.Stat_t)
		out[name] = fmt.Sprintf("%s %d:%d\n%s", info.Mode(), owner.Uid, owner.Gid, data)
		return err
	}))
	return out
}
