package preflight

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// bpf returns which tiers the ledger can have here, without loading anything.
func (c Checker) bpf() []Finding {
	meta, err := c.Ledger(c.Root.Path(c.LedgerDir))
	hooks := c.hooks()
	if err == nil {
		hooks = c.hooksInForce(meta.Tier)
	}
	return []Finding{c.btf(), c.bpffs(), c.capabilities(), c.lockdown(), hooks, ledger(meta, err), c.namespaces(meta, err)}
}

const countersOnly = "no ledger without it, counters only"

func (c Checker) btf() Finding {
	const path = "/sys/kernel/btf/vmlinux"
	if !c.Root.Exists(path) {
		return bad(Warn, "btf", "use a kernel with CONFIG_DEBUG_INFO_BTF", "no %s: %s", path, countersOnly)
	}
	return ok("btf", "%s", path)
}

// bpffs checks the file system on which the ledger is pinned.
func (c Checker) bpffs() Finding {
	const (
		name = "bpffs"
		at   = "/sys/fs/bpf"
	)
	// The host's view comes first; reading it takes privileges.
	for _, file := range []string{"/proc/1/mountinfo", "/proc/self/mountinfo"} {
		data, err := os.Open(c.Root.Path(file))
		if err != nil {
			continue
		}
		mounts, err := mountinfo.GetMountsFromReader(data, mountinfo.FSTypeFilter("bpf"))
		data.Close()
		if err != nil {
			continue
		}
		for _, mount := range mounts {
			if mount.Mountpoint == at {
				return ok(name, "mounted at %s", at)
			}
		}
		return bad(Warn, name, "oomwitness load mounts it, as systemd does at boot", "not mounted at %s: %s", at, countersOnly)
	}
	return bad(Warn, name, "mount /proc", "cannot read the mounts")
}

// Numbers from include/uapi/linux/capability.h.
const (
	capSysAdmin = 21
	capPerfmon  = 38
	capBPF      = 39
)

// capabilities checks this process's capabilities: the shim has containerd's, which on a node
// are root's.
func (c Checker) capabilities() Finding {
	const name = "capabilities"
	var effective uint64
	known := false
	for line := range strings.Lines(c.Root.Text("/proc/self/status")) {
		if value, found := strings.CutPrefix(line, "CapEff:"); found {
			bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			effective, known = bits, err == nil
		}
	}
	unprivileged := ""
	if value := c.Root.Text("/proc/sys/kernel/unprivileged_bpf_disabled"); value != "" {
		unprivileged = "; unprivileged_bpf_disabled is " + value
	}
	has := func(bit int) bool { return effective&(1<<bit) != 0 }
	switch {
	case !known:
		return bad(Warn, name, "mount /proc", "cannot read the capabilities of this process")
	case has(capSysAdmin):
		return ok(name, "CAP_SYS_ADMIN%s", unprivileged)
	case has(capBPF) && has(capPerfmon):
		return ok(name, "CAP_BPF and CAP_PERFMON%s", unprivileged)
	}
	return bad(Warn, name, "run this command as root, or with CAP_BPF and CAP_PERFMON",
		"this process may not load BPF programs%s", unprivileged)
}

// lockdown reads the kernel's lockdown mode, "[none] integrity confidentiality" with the mode
// in force in brackets. The mode confidentiality forbids BPF to read kernel memory
// (security/lockdown/lockdown.c).
func (c Checker) lockdown() Finding {
	const name = "lockdown"
	text := c.Root.Text("/sys/kernel/security/lockdown")
	_, mode, found := strings.Cut(text, "[")
	mode, _, _ = strings.Cut(mode, "]")
	switch {
	case !found:
		return ok(name, "not in this kernel, or securityfs is not mounted")
	case mode == "confidentiality":
		return bad(Warn, name, "boot without lockdown=confidentiality for the ledger", "confidentiality: BPF may not read kernel memory, counters only")
	}
	return ok(name, "%s", mode)
}

// symbols returns which of the names are in /proc/kallsyms; nil if it cannot be read.
func (c Checker) symbols(names ...string) map[string]bool {
	file, err := os.Open(c.Root.Path("/proc/kallsyms"))
	if err != nil {
		return nil
	}
	defer file.Close()
	want := make(map[string]bool, len(names))
	for _, name := range names {
		want[name] = true
	}
	have := make(map[string]bool, len(names))
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 3 && want[fields[2]] {
			have[fields[2]] = true
		}
	}
	if lines.Err() != nil {
		return nil
	}
	return have
}
