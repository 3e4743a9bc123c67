package preflight_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
)

func TestHealthyNode(t *testing.T) {
	report := newNode(t).report()
	var names []string
	for _, finding := range report.Findings {
		require.Equal(t, preflight.OK, finding.Status, "%+v", finding)
		require.Empty(t, finding.Do)
		require.NotEmpty(t, finding.Found)
		names = append(names, finding.Name)
	}
	require.True(t, report.OK)
	// The names are part of the JSON form: they stay.
	require.Equal(t, []string{
		"kernel", "cgroup", "memory-controller", "memory-files", "containerd", "containerd-version", "runc",
		"shim", "drop-in", "imports", "restart", "btf", "bpffs", "capabilities", "lockdown", "hooks", "ledger", "namespaces", "config",
	}, names)
}

// TestFindings changes one thing on a healthy node, and compares one finding. No other finding
// may change, unless also names it.
func TestFindings(t *testing.T) {
	const ok, warn, fail = preflight.OK, preflight.Warn, preflight.Fail
	for name, test := range map[string]struct {
		change func(*node)
		check  string
		status preflight.Status
		found  string
		also   string
	}{
		"another configuration": {func(n *node) { n.reads = "/opt/c.toml" },
			"containerd", fail, "runs with the configuration /opt/c.toml, not /etc/containerd/config.toml", ""},
		"old kernel":       {func(n *node) { n.put("/proc/sys/kernel/osrelease", "5.4.0") }, "kernel", warn, "counters only", ""},
		"no /proc":         {func(n *node) { n.remove("/proc/sys/kernel/osrelease") }, "kernel", fail, "osrelease", ""},
		"cgroup v1":        {(*node).v1, "memory-controller", ok, "on cgroup v1", ""},
		"no cgroups":       {func(n *node) { n.remove("/sys/fs/cgroup") }, "cgroup", fail, "no cgroup tree", "memory-controller memory-files"},
		"no memory on v2":  {func(n *node) { n.put("/sys/fs/cgroup/cgroup.controllers", "cpu") }, "memory-controller", fail, "no memory in", ""},
		"memory off on v2": {func(n *node) { n.put("/sys/fs/cgroup/cgroup.subtree_control", "cpu") }, "memory-controller", warn, "not yet enabled", ""},
		"memory disabled on v1": {func(n *node) {
			n.v1()
			n.put("/proc/cgroups", "memory\t0\t1\t0\n")
		}, "memory-controller", fail, "disabled", ""},
		"memory not built in": {func(n *node) {
			n.v1()
			n.put("/proc/cgroups", "cpu\t0\t1\t1\n")
		}, "memory-controller", fail, "no memory in /proc/cgroups", ""},
		"memory not mounted on v1": {func(n *node) {
			n.v1()
			n.remove("/sys/fs/cgroup/memory")
			n.put("/sys/fs/cgroup/cpu/cgroup.procs", "")
		}, "memory-controller", fail, "not mounted", "memory-files"},
		"hybrid": {func(n *node) {
			n.v1()
			n.put("/sys/fs/cgroup/unified/cgroup.controllers", "hugetlb")
		}, "cgroup", ok, "hybrid", ""},
		"memory on the v2 side of hybrid": {func(n *node) {
			n.v1()
			n.remove("/sys/fs/cgroup/memory")
			n.put("/sys/fs/cgroup/unified/cgroup.controllers", "memory")
			n.put("/sys/fs/cgroup/unified/cgroup.subtree_control", "memory")
		}, "memory-controller", ok, "/sys/fs/cgroup/unified", "memory-files"},
		"no local events": {func(n *node) { n.remove("/sys/fs/cgroup/system.slice/memory.events.local") }, "memory-files", warn, "not memory.events.local", ""},

		"containerd not running":          {(*node).notRunning, "containerd", fail, "no such socket", ""},
		"containerd not running: version": {(*node).notRunning, "containerd-version", ok, "v2.3.0 (/usr/bin/containerd)", "containerd"},
		"containerd refuses":              {func(n *node) { n.err = os.ErrPermission }, "containerd", fail, "permission denied", ""},
		"containerd neither runs nor is":  {func(n *node) { n.notRunning(); n.remove("/usr/bin/containerd") }, "containerd-version", fail, "no containerd program", "containerd"},
		// A version that nobody knows is not 1.x.
		"a template beside imports, version unknown": {func(n *node) {
			n.put("/etc/containerd/config-v3.toml.tmpl", "{{ template \"base\" . }}\n")
			n.notRunning()
			n.programs["containerd --version"] = "error: exec format error"
		}, "drop-in", ok, "registers", "containerd containerd-version"},
		"containerd does not even start":    {func(n *node) { n.notRunning(); n.programs["containerd --version"] = "error: exec format error" }, "containerd-version", warn, "exec format error", "containerd"},
		"containerd 1.5":                    {func(n *node) { n.version = "1.5.18" }, "containerd-version", fail, "1.5.18 cannot be served, 1.6 to 2.4 can", "drop-in"},
		"containerd 1.6":                    {func(n *node) { n.version = "1.6.20~ds1" }, "containerd-version", ok, "1.6.20", "drop-in"},
		"containerd 2.0":                    {func(n *node) { n.version = "v2.0.9" }, "containerd-version", ok, "v2.0.9", ""},
		"a drop-in for containerd 1.7":      {func(n *node) { n.version = "1.7.27" }, "drop-in", fail, "takes other CRI settings away", ""},
		"a block for containerd 1.7":        {func(n *node) { n.block("1.7.27") }, "drop-in", ok, criconf.DefaultPath + " registers", ""},
		"a block for containerd 1.6":        {func(n *node) { n.block("1.6.20") }, "drop-in", ok, criconf.DefaultPath + " registers", ""},
		"a block of another version":        {func(n *node) { n.block("1.6.20"); n.version = "1.7.27" }, "drop-in", warn, "from another version", ""},
		"no block for containerd 1.7":       {func(n *node) { n.block("1.7.27"); n.put(criconf.DefaultPath, "version = 2") }, "drop-in", warn, "no block of oomwitness", ""},
		"containerd of the future":          {func(n *node) { n.version = "v3.0.0-rc.1" }, "containerd-version", ok, "v3.0.0-rc.1", ""},
		"containerd with a strange version": {func(n *node) { n.version = "main" }, "containerd-version", warn, `"main"`, ""},

		"no runc":                {func(n *node) { n.remove("/usr/bin/runc") }, "runc", fail, "no executable runc in /usr/bin:/usr/local/bin", ""},
		"runc of another CPU":    {func(n *node) { n.programs["runc --version"] = "error: exec format error" }, "runc", fail, "does not run", ""},
		"runc without features":  {func(n *node) { n.programs["runc features"] = "error: exit status 1: No help topic" }, "runc", fail, "wrong kind", ""},
		"runc is something else": {func(n *node) { n.programs["runc features"] = "usage: runc" }, "runc", fail, "wrong kind", ""},
		"runc of no OCI":         {func(n *node) { n.programs["runc features"] = "{}" }, "runc", fail, "names no OCI version", ""},
		"runc of another system": {func(n *node) { n.programs["runc features"] = `{"ociVersionMin":"1.0.0"}` }, "runc", fail, "no Linux cgroups", ""},
		"crun":                   {func(n *node) { n.programs["runc --version"] = "crun version 1.20" }, "runc", warn, "not runc", ""},

		"no shim":             {func(n *node) { n.remove(shimPath) }, "shim", fail, "configured to use it", ""},
		"shim not executable": {func(n *node) { _ = os.Chmod(n.root.Path(shimPath), 0o644) }, "shim", fail, "not an executable", ""},
		"nothing installed":   {func(n *node) { n.remove(dropinPath, shimPath) }, "drop-in", warn, "not installed", "shim"},
		"no main config":      {func(n *node) { n.remove(criconf.DefaultPath) }, "imports", fail, "reads no drop-ins", "drop-in"},
		"no import":           {func(n *node) { n.put(criconf.DefaultPath, strings.Replace(main, "imports", "#", 1)) }, "imports", fail, "does not import", ""},
		"broken main config":  {func(n *node) { n.put(criconf.DefaultPath, "version = [") }, "imports", fail, "line 1", "drop-in"},
		"CRI disabled":        {func(n *node) { n.put(criconf.DefaultPath, "disabled_plugins = ['cri']\n"+main) }, "imports", warn, "disables the CRI plugin", ""},
		"restart needed":      {func(n *node) { n.put("/proc/stat", "btime 100\n") }, "restart", warn, "before " + dropinPath, ""},
		"no BTF":              {func(n *node) { n.remove("/sys/kernel/btf") }, "btf", warn, "counters only", ""},
		"no bpffs":            {func(n *node) { n.put("/proc/1/mountinfo", "") }, "bpffs", warn, "not mounted", ""},
		"bpffs elsewhere":     {func(n *node) { n.put("/proc/1/mountinfo", "30 20 0:27 / /mnt rw - bpf bpf rw\n") }, "bpffs", warn, "not mounted", ""},
		"no privileges":       {func(n *node) { n.put("/proc/self/status", "CapEff:\t0000000000000000\n") }, "capabilities", warn, "may not load", ""},
		"CAP_BPF alone":       {func(n *node) { n.put("/proc/self/status", "CapEff:\t0000008000000000\n") }, "capabilities", warn, "may not load", ""},
		"CAP_BPF and PERFMON": {func(n *node) { n.put("/proc/self/status", "CapEff:\t000000c000000000\n") }, "capabilities", ok, "CAP_BPF and CAP_PERFMON", ""},
		"confidential":        {func(n *node) { n.put("/sys/kernel/security/lockdown", "none integrity [confidentiality]") }, "lockdown", warn, "may not read", ""},
		"integrity":           {func(n *node) { n.put("/sys/kernel/security/lockdown", "none [integrity] confidentiality") }, "lockdown", ok, "integrity", ""},
		"config valid": {func(n *node) {
			n.put(preflight.DefaultConfigPath, "x")
			n.check = func(string) ([]string, error) { return nil, nil }
		}, "config", ok, "is valid", ""},
		"config old key": {func(n *node) {
			n.put(preflight.DefaultConfigPath, "x")
			n.check = func(string) ([]string, error) { return []string{"x:1: bound: the key is now named hold_timeout"}, nil }
		}, "config", warn, "x:1: bound: the key is now named hold_timeout", "the new key"},
		"config bad": {func(n *node) {
			n.put(preflight.DefaultConfigPath, "x")
			n.check = func(string) ([]string, error) { return nil, errors.New("grace: -1") }
		}, "config", fail, "grace: -1", ""},

		"drop-in altered: type":    {altered("io.containerd.runc.v2'\nruntime_path", "io.containerd.x.v2'\nruntime_path"), "drop-in", fail, "runtime_type", ""},
		"drop-in altered: path":    {altered("/usr/local/bin/", "/opt/"), "drop-in", fail, "runtime_path", ""},
		"drop-in altered: name":    {altered("runtimes.oomwitness", "runtimes.other"), "drop-in", fail, `no runtime "oomwitness"`, ""},
		"drop-in altered: extra":   {altered("[plugins", "# mine\n[plugins"), "drop-in", warn, "was altered", ""},
		"drop-in altered: version": {altered("version = 3", "version = 2"), "drop-in", fail, "do not go together", ""},
		"drop-in altered: damaged": {altered("[plugins", "[[plugins["), "drop-in", fail, "line", ""},
		"drop-in of others":        {func(n *node) { n.put(dropinPath, "version = 3\n") }, "drop-in", fail, "not written by", ""},
		"another cgroup driver":    {func(n *node) { n.put(dropinPath, n.dropin(false)) }, "drop-in", warn, "the runc handler has true", ""},
		"the runc handler changed": {func(n *node) { n.put(criconf.DefaultPath, main+"BinaryName = 'runc'\n") }, "drop-in", warn, "the runc handler changed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			test.change(n)
			report := n.report()
			seen := false
			for _, finding := range report.Findings {
				if finding.Name == test.check {
					seen = true
					require.Equal(t, test.status, finding.Status, "%+v", finding)
					require.Contains(t, finding.Found, test.found)
				} else if !strings.Contains(test.also, finding.Name) {
					require.Equal(t, ok, finding.Status, "%+v", finding)
				}
				require.Equal(t, finding.Status == ok, finding.Do == "", "only a finding has something to do: %+v", finding)
			}
			require.True(t, seen)
			require.Equal(t, len(report.Failed()) == 0, report.OK)
		})
	}
}

// altered returns a change that edits the drop-in, as an operator might.
func altered(from, to string) func(*node) {
	return func(n *node) {
		text := n.dropin(true)
		require.Contains(n.t, text, from)
		n.put(dropinPath, strings.ReplaceAll(text, from, to))
	}
}

// TestStartsTheUnit: the advice names the unit of the node's containerd.
func TestStartsTheUnit(t *testing.T) {
	n := newNode(t)
	n.put("/proc/5/cgroup", "0::/system.slice/k3s.service\n")
	n.err = &fs.PathError{Op: "stat", Path: containerd.DefaultAddress, Err: fs.ErrNotExist}
	for _, finding := range n.report().Findings {
		if finding.Name == "containerd" {
			require.Equal(t, "start it: systemctl start k3s; if its socket is elsewhere, name it with --address", finding.Do)
		}
	}
}

func TestRuncOfTheHandler(t *testing.T) {
	n := newNode(t)
	n.put(criconf.DefaultPath, main+"BinaryName = '/opt/special'\n")
	require.Contains(t, n.report().Failed(), "runc")
	n.put("/opt/special", "")
	require.NoError(t, os.Chmod(n.root.Path("/opt/special"), 0o755))
	n.programs["special --version"], n.programs["special features"] = "runc version 1.3.0", features
	require.NotContains(t, n.report().Failed(), "runc")
}

func TestOutput(t *testing.T) {
	n := newNode(t)
	n.remove("/usr/bin/runc")
	report := n.report()
	var text, data bytes.Buffer
	require.NoError(t, report.WriteText(&text))
	require.Contains(t, text.String(), "fail    runc ")
	require.Contains(t, text.String(), "-> install runc 1.1 or later")
	require.Contains(t, text.String(), "18 ok, 0 warn, 1 fail")

	require.NoError(t, report.WriteJSON(&data))
	var back map[string]any
	require.NoError(t, json.Unmarshal(data.Bytes(), &back))
	require.Equal(t, float64(1), back["schema"])
	require.Equal(t, false, back["ok"])
	for _, finding := range back["findings"].([]any) {
		keys := finding.(map[string]any)
		require.Contains(t, keys, "name")
		require.Contains(t, keys, "status")
		require.Contains(t, keys, "found")
		_, has := keys["do"]
		require.Equal(t, keys["status"] != "ok", has)
	}
}
