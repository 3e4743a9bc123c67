//go:build linux

package shimtest

import (
	"slices"

	"github.com/containerd/cgroups/v3"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oomwitness/oomwitness/integration/workload"
)

// DefaultMemory is the memory limit of a container that sets none, bytes: a hog without a limit
// would take the machine's memory.
const DefaultMemory = 64 << 20

// SandboxAnnotation puts containers into one shim, as CRI does.
const SandboxAnnotation = "io.kubernetes.cri.sandbox-id"

// Spec returns the default spec of a container: the workload "sleep 1000" in namespaces of its
// own, with the limit DefaultMemory.
func (n *Node) Spec(id string) *specs.Spec {
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: []string{workload.Path, "sleep", "1000"},
			Cwd:  "/",
			Env:  []string{"PATH=/"},
		},
		Root: &specs.Root{Path: n.rootfs, Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "size=64k"}},
		},
		Annotations: map[string]string{},
		Linux: &specs.Linux{
			CgroupsPath: n.CgroupsPath(id),
			Resources:   &specs.LinuxResources{Memory: memory(DefaultMemory)},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
			},
		},
	}
}

func memory(limit int64) *specs.LinuxMemory { return &specs.LinuxMemory{Limit: &limit} }

// Args makes the container run the workload with the given arguments.
func Args(args ...string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Process.Args = append([]string{workload.Path}, args...) }
}

// MemoryLimit sets the memory limit in bytes; 0 removes it.
func MemoryLimit(limit int64) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Resources.Memory = nil
		if limit != 0 {
			s.Linux.Resources.Memory = memory(limit)
		}
	}
}

// Terminal adds a terminal to the container.
func Terminal(s *specs.Spec) { s.Process.Terminal = true }

// Annotation sets one annotation.
func Annotation(name, value string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Annotations[name] = value }
}

// Sandbox makes the container a member of the sandbox with the given ID.
func Sandbox(id string) func(*specs.Spec) { return Annotation(SandboxAnnotation, id) }

// Unified sets a cgroup v2 file, such as memory.oom.group.
func Unified(file, value string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		if s.Linux.Resources.Unified == nil {
			s.Linux.Resources.Unified = map[string]string{}
		}
		s.Linux.Resources.Unified[file] = value
	}
}

// HostPID puts the container into the host's pid namespace.
func HostPID(s *specs.Spec) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.PIDNamespace
	})
}

// CgroupMount mounts the container's own cgroup for writing, which the mode nested of the
// workload needs.
func CgroupMount(s *specs.Spec) {
	s.Mounts = append(s.Mounts, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "rw"},
	})
	if cgroups.Mode() == cgroups.Unified {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
}
