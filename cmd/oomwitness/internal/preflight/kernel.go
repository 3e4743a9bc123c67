package preflight

import (
	"path"
	"slices"
	"strings"
)

// kernel checks that the ledger can load on the kernel.
func (c Checker) kernel() Finding {
	const name = "kernel"
	text := c.Root.Text("/proc/sys/kernel/osrelease")
	major, minor, known := release(text)
	switch {
	case !known:
		return bad(Fail, name, "mount /proc, or name the right tree with --root",
			"cannot read the release from /proc/sys/kernel/osrelease")
	case !atLeast(major, minor, 5, 10):
		return bad(Warn, name, "for causes and exact victims, run Linux 5.10 or later",
			"Linux %s: too old for the ledger, counters only", text)
	}
	return ok(name, "Linux %s", text)
}

// Possible places of the memory controller.
const (
	cgroupRoot   = "/sys/fs/cgroup"
	memoryV1     = cgroupRoot + "/memory"
	controllers  = "cgroup.controllers"
	subtree      = "cgroup.subtree_control"
	onV1         = "v1"
	onV2         = "v2"
	onHybrid     = "hybrid"
	onNone       = ""
	unifiedUnder = cgroupRoot + "/unified"
)

// hierarchy returns how cgroups are mounted: v2 alone, v1 alone, or hybrid, which is v1 with a
// v2 tree beside it, as systemd makes it.
func (c Checker) hierarchy() string {
	v1 := c.Root.Exists(memoryV1+"/cgroup.procs") || c.Root.Exists(memoryV1+"/memory.limit_in_bytes")
	switch {
	case c.Root.Exists(path.Join(cgroupRoot, controllers)):
		return onV2
	case c.Root.Exists(path.Join(unifiedUnder, controllers)):
		return onHybrid
	case v1:
		return onV1
	}
	// A v1 host without a memory hierarchy still has others.
	if matches, err := c.Root.Glob(cgroupRoot + "/*/cgroup.procs"); err == nil && len(matches) > 0 {
		return onV1
	}
	return onNone
}

// cgroup returns a finding with the cgroup version in use.
func (c Checker) cgroup() Finding {
	const name = "cgroup"
	switch c.hierarchy() {
	case onV2:
		return ok(name, "cgroup v2")
	case onHybrid:
		return ok(name, "hybrid: cgroup v1, and a v2 tree at %s", unifiedUnder)
	case onV1:
		return ok(name, "cgroup v1")
	}
	return bad(Fail, name, "mount the cgroup tree; systemd does so at boot", "no cgroup tree at %s", cgroupRoot)
}

// memoryController checks that there is a memory controller, and returns its place.
func (c Checker) memoryController() Finding {
	const name = "memory-controller"
	switch c.hierarchy() {
	case onV2:
		return c.memoryOnV2(name, cgroupRoot)
	case onHybrid:
		if slices.Contains(strings.Fields(c.Root.Text(path.Join(unifiedUnder, controllers))), "memory") {
			return c.memoryOnV2(name, unifiedUnder)
		}
		return c.memoryOnV1(name)
	case onV1:
		return c.memoryOnV1(name)
	}
	return bad(Fail, name, "see the check cgroup", "no cgroup tree")
}

// enableMemory returns the advice for a missing memory controller.
func (c Checker) enableMemory() string {
	if strings.Contains(c.Root.Text("/proc/cmdline"), "cgroup_disable=memory") {
		return "remove cgroup_disable=memory from the kernel command line and reboot"
	}
	return "boot with cgroup_enable=memory on the kernel command line (some ARM boards need it), " +
		"or use a kernel with CONFIG_MEMCG"
}

// memoryOnV2 checks the root cgroup: controllers lists the available ones, subtree_control
// those of the child cgroups.
func (c Checker) memoryOnV2(name, at string) Finding {
	if !slices.Contains(strings.Fields(c.Root.Text(path.Join(at, controllers))), "memory") {
		return bad(Fail, name, c.enableMemory(), "no memory in %s/%s", at, controllers)
	}
	if !slices.Contains(strings.Fields(c.Root.Text(path.Join(at, subtree))), "memory") {
		return bad(Warn, name, "systemd and runc enable it with the first container; by hand: echo +memory > "+path.Join(at, subtree),
			"on cgroup v2, not yet enabled in %s/%s", at, subtree)
	}
	return ok(name, "on cgroup v2 at %s, enabled for its children", at)
}

// memoryOnV1 reads /proc/cgroups: name, hierarchy, number of cgroups, enabled.
func (c Checker) memoryOnV1(name string) Finding {
	for line := range strings.Lines(c.Root.Text("/proc/cgroups")) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != "memory" {
			continue
		}
		if fields[3] != "1" {
			return bad(Fail, name, c.enableMemory(), "disabled in /proc/cgroups")
		}
		if !c.Root.Exists(memoryV1) {
			return bad(Fail, name, "mount it: mount -t cgroup -o memory cgroup "+memoryV1,
				"enabled in the kernel, not mounted at %s", memoryV1)
		}
		return ok(name, "on cgroup v1 at %s", memoryV1)
	}
	return bad(Fail, name, c.enableMemory(), "no memory in /proc/cgroups")
}

// memoryFiles returns which of the kernel's files about OOM and pressure exist. The root cgroup
// does not have them, so that a child cgroup is checked.
func (c Checker) memoryFiles() Finding {
	const name = "memory-files"
	psi := "no PSI"
	if c.Root.Exists("/proc/pressure/memory") {
		psi = "PSI"
	}
	at, hierarchy := cgroupRoot, c.hierarchy()
	if hierarchy == onHybrid {
		at = unifiedUnder
	}
	if c.Root.Exists(memoryV1) && hierarchy != onV2 {
		if !strings.Contains(c.Root.Text(memoryV1+"/memory.oom_control"), "oom_kill ") {
			return bad(Warn, name, "run Linux 4.13 or later", "memory.oom_control does not count kills; %s", psi)
		}
		return ok(name, "memory.oom_control counts kills; %s; no memory.oom.group on cgroup v1", psi)
	}
	children, err := c.Root.Glob(at + "/*/memory.events")
	if err != nil || len(children) == 0 {
		return bad(Warn, name, "look again when a service or container runs", "no cgroup with memory.events yet; %s", psi)
	}
	dir := path.Dir(children[0])
	var missing []string
	for _, file := range []string{"memory.events.local", "memory.oom.group"} {
		if !c.Root.Exists(path.Join(dir, file)) {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		return bad(Warn, name, "run Linux 5.2 or later", "memory.events, but not %s; %s", strings.Join(missing, " or "), psi)
	}
	return ok(name, "memory.events, memory.events.local, memory.oom.group; %s", psi)
}
