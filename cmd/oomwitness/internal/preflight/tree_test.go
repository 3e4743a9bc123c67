package preflight_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

const (
	shimPath   = "/usr/local/bin/" + criconf.ShimName
	dropinPath = "/etc/containerd/conf.d/" + criconf.DropinName
	features   = `{"ociVersionMin":"1.0.0","linux":{"cgroup":{"v1":true}}}`
	main       = "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n" +
		"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
)

// node is a healthy node: a fake tree, with answers of its programs.
type node struct {
	t    *testing.T
	root rootfs.Dir
	// programs maps a command such as "runc features" to its answer. An answer beginning with
	// "error: " is an error.
	programs map[string]string
	// version is the answer at containerd's socket, err the error in its place.
	version string
	err     error
	// named is the version that the operator names.
	named string
	// reads is the configuration that containerd's command line names.
	reads string
	check func(string) ([]string, error)
	// ledger is the pinned ledger, unread the error of reading it.
	ledger bpf.Meta
	unread error
	// unprivileged says that another user than root checks.
	unprivileged bool
}

func newNode(t *testing.T) *node {
	n := &node{
		t: t, root: rootfs.Dir(t.TempDir()), version: "v2.4.2",
		ledger: bpf.Meta{Tier: bpf.TierA, ABI: 1, Version: 1, Hierarchy: 2, Victims: 12},
		programs: map[string]string{
			"runc --version": "runc version 1.5.2\nspec: 1.3.0\n", "runc features": features,
			"containerd --version": "containerd github.com/containerd/containerd/v2 v2.3.0 75cb2b71\n",
		},
	}
	for name, text := range map[string]string{
		"/proc/sys/kernel/osrelease":                 "6.12.9-cloud-amd64\n",
		"/proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
		"/proc/pressure/memory":                      "",
		"/proc/stat":                                 "cpu 1 2\nbtime 4000000000\n",
		"/proc/5/comm":                               "containerd\n",
		"/proc/5/status":                             "Uid:\t0\t0\t0\t0\n",
		"/proc/5/stat":                               "5 (containerd) S 1" + strings.Repeat(" 0", 17) + " 100 0\n",
		"/proc/5/environ":                            "A=b\x00PATH=/usr/bin:/usr/local/bin\x00",
		"/proc/1/mountinfo":                          "30 20 0:27 / /sys/fs/bpf rw - bpf bpf rw\n",
		"/proc/self/status":                          "Name:\tx\nCapEff:\t000001ffffffffff\n",
		"/proc/kallsyms": "0 T oom_kill_process\n0 t __oom_kill_process\n0 t __bpf_trace_mark_victim\n" +
			"0 T register_ftrace_direct\n0 T register_kprobe\n",
		"/sys/fs/cgroup/cgroup.controllers":               "cpu memory pids\n",
		"/sys/fs/cgroup/cgroup.subtree_control":           "cpu memory\n",
		"/sys/fs/cgroup/system.slice/memory.events":       "",
		"/sys/fs/cgroup/system.slice/memory.events.local": "",
		"/sys/fs/cgroup/system.slice/memory.oom.group":    "",
		"/sys/kernel/btf/vmlinux":                         "",
		"/sys/kernel/security/lockdown":                   "[none] integrity confidentiality\n",
		criconf.DefaultPath:                               main,
		dropinPath:                                        n.dropin(true),
	} {
		n.put(name, text)
	}
	for _, program := range []string{"/usr/bin/runc", "/usr/bin/containerd", shimPath} {
		n.put(program, "")
		require.NoError(t, os.Chmod(n.root.Path(program), 0o755))
	}
	n.namespaces("pid:[4026531836]", "cgroup:[4026531835]")
	return n
}

// namespaces sets the namespaces of process 1 and of containerd; "" if they cannot be read.
func (n *node) namespaces(pid, cgroup string) {
	n.t.Helper()
	for _, process := range []string{"/proc/1", "/proc/5"} {
		dir := n.root.Path(process + "/ns")
		require.NoError(n.t, os.RemoveAll(dir))
		require.NoError(n.t, os.MkdirAll(dir, 0o755))
		for kind, text := range map[string]string{"pid": pid, "cgroup": cgroup} {
			if text != "" {
				require.NoError(n.t, os.Symlink(text, filepath.Join(dir, kind)))
			}
		}
	}
}

// dropin returns the drop-in that install writes for this node.
func (n *node) dropin(systemd bool) string {
	n.t.Helper()
	file, err := criconf.Parse(criconf.DefaultPath, []byte(main))
	require.NoError(n.t, err)
	data, err := criconf.Dropin{
		Version: 3, Handler: criconf.DefaultHandler, Shim: shimPath, SystemdCgroup: systemd, Runc: file.Runtimes["runc"],
	}.Render()
	require.NoError(n.t, err)
	return string(data)
}

// block turns the node into one with containerd 1.x, with the block that install writes there.
func (n *node) block(text string) {
	n.t.Helper()
	n.version = text
	n.remove(dropinPath)
	version, err := containerd.ParseVersion(text)
	require.NoError(n.t, err)
	tables, err := criconf.Dropin{
		Version: 2, Handler: criconf.DefaultHandler, Shim: shimPath, SystemdCgroup: true, ByType: !version.RuntimePath(),
	}.Tables()
	require.NoError(n.t, err)
	data, err := criconf.AppendBlock([]byte("version = 2\n"), tables)
	require.NoError(n.t, err)
	n.put(criconf.DefaultPath, string(data))
}

func (n *node) put(name, text string) {
	n.t.Helper()
	file := n.root.Path(name)
	require.NoError(n.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(n.t, os.WriteFile(file, []byte(text), 0o644))
}

func (n *node) read(name string) string {
	n.t.Helper()
	data, err := n.root.ReadFile(name)
	require.NoError(n.t, err)
	return string(data)
}

func (n *node) remove(names ...string) {
	n.t.Helper()
	for _, name := range names {
		require.NoError(n.t, os.RemoveAll(n.root.Path(name)))
	}
}

// v1 turns the node into a cgroup v1 one.
func (n *node) v1() {
	n.remove("/sys/fs/cgroup")
	n.put("/sys/fs/cgroup/memory/cgroup.procs", "")
	n.put("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
	n.put("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t19\t1\n")
}

func (n *node) run(_ context.Context, name string, args ...string) (string, error) {
	key := filepath.Base(name) + " " + strings.Join(args, " ")
	answer, ok := n.programs[key]
	if !ok {
		return "", fmt.Errorf("unexpected program %s", key)
	}
	if text, failed := strings.CutPrefix(answer, "error: "); failed {
		return "", errors.New(text)
	}
	return answer, nil
}

func (n *node) report() preflight.Report {
	located, err := containerd.Locate(n.t.Context(), n.root, containerd.Wanted{})
	require.NoError(n.t, err)
	if n.reads != "" {
		located.ConfigNamed, located.Config = true, n.reads
	}
	return preflight.Checker{
		Containerd: located, Root: n.root, ContainerdConfig: criconf.DefaultPath, Address: containerd.DefaultAddress,
		BinDir: install.DefaultBinDir, ConfDir: criconf.DefaultDropinDir, Handler: criconf.DefaultHandler,
		ConfigCheck: n.check, LedgerDir: bpf.DefaultDir, ContainerdVersion: n.named, Unprivileged: n.unprivileged,
		Ledger: func(dir string) (bpf.Meta, error) {
			require.Equal(n.t, n.root.Path(bpf.DefaultDir), dir)
			return n.ledger, n.unread
		},
		Run:     n.run,
		Version: func(context.Context, string) (string, error) { return n.version, n.err },
	}.Check(n.t.Context())
}

// notRunning makes containerd's socket go away.
func (n *node) notRunning() {
	n.err = &fs.PathError{Op: "stat", Path: containerd.DefaultAddress, Err: fs.ErrNotExist}
	n.remove("/proc/5")
}
