//go:build linux

package mix

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oomwitness/oomwitness/integration/workload"
)

// Driver is a cgroup driver.
type Driver string

// The cgroup drivers.
const (
	Cgroupfs Driver = "cgroupfs"
	Systemd  Driver = "systemd"
)

// DriverHere returns the cgroup driver of the guest's flavour: systemd if init is systemd.
func DriverHere() Driver {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return Systemd
	}
	return Cgroupfs
}

// cgroupsPath returns the cgroupsPath of a container, from which runc makes the cgroup.
func (d Driver) cgroupsPath(pod, id string) string {
	switch {
	case d == Systemd && pod != "":
		return fmt.Sprintf("%s:oomw:%s", slice(pod), id)
	case d == Systemd:
		return "system.slice:oomw:" + id
	case pod != "":
		// These names are kubelet's: by them pod and container are found.
		return filepath.Join("/", podsDir, pod, id)
	default:
		return filepath.Join("/oomw", id)
	}
}

const podsDir = "kubepods"

func slice(pod string) string { return podsDir + "-" + pod + ".slice" }

// LimitPod limits a pod's cgroup, in bytes. The cgroup exists as soon as
// the pod's first container was created.
func (d Driver) LimitPod(ctx context.Context, pod string, limit int64) error {
	if d == Systemd {
		out, err := exec.CommandContext(ctx, "systemctl", "set-property", "--runtime", slice(pod), "MemoryMax="+strconv.FormatInt(limit, 10)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("limit pod: %w: %s", err, out)
		}
		return nil
	}
	file := filepath.Join("/sys/fs/cgroup", podsDir, pod, "memory.max")
	if err := os.WriteFile(file, strconv.AppendInt(nil, limit, 10), 0); err != nil {
		return fmt.Errorf("limit pod: %w", err)
	}
	return nil
}

// removePod removes a pod's cgroup after its containers are gone.
func (d Driver) removePod(ctx context.Context, pod string) {
	if d == Systemd {
		_ = exec.CommandContext(ctx, "systemctl", "stop", slice(pod)).Run() // mostly it is gone already
		return
	}
	_ = os.Remove(filepath.Join("/sys/fs/cgroup", podsDir, pod))
}

// spec is the OCI spec of a container in the given pod, or in none.
func (c Container) spec(d Driver, rootfs, pod, id string) *specs.Spec {
	binary := c.Binary
	if binary == "" {
		binary = workload.Path
	}
	s := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: append([]string{binary}, c.Args...),
			Cwd:  "/",
			Env:  []string{"PATH=" + cmp.Or(c.Path, "/")},
		},
		Root: &specs.Root{Path: cmp.Or(c.Rootfs, rootfs), Readonly: !c.Writable},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
		},
		Annotations: map[string]string{},
		Linux: &specs.Linux{
			CgroupsPath: d.cgroupsPath(pod, id),
			Resources:   &specs.LinuxResources{Unified: c.Unified},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
		},
	}
	if c.Limit > 0 {
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &c.Limit}
	}
	if both := c.Limit + c.Swap; c.Swap > 0 {
		s.Linux.Resources.Memory.Swap = &both
	}
	s.Mounts = append(s.Mounts, c.Mounts...)
	if c.Mems != "" {
		s.Linux.Resources.CPU = &specs.LinuxCPU{Mems: c.Mems}
	}
	if c.Score != 0 {
		s.Process.OOMScoreAdj = &c.Score
	}
	if c.Nested {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"rw", "nosuid"}})
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
		s.Mounts = append([]specs.Mount{{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}}}, s.Mounts...)
	}
	maps.Copy(s.Annotations, c.Annotations)
	if pod != "" {
		s.Annotations["io.kubernetes.cri.sandbox-id"] = pod
	}
	return s
}
