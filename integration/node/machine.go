//go:build linux

package node

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/oomwitness/oomwitness/integration/guest"
)

// Machine is a prepared node. It can run any number of times, also several times at once.
type Machine struct {
	config    Config
	kernel    *kernelFiles
	initramfs string
	base      string
	accel     string
}

// Prepare makes everything that runs share. If several processes prepare at once, one works and
// the others wait.
func Prepare(ctx context.Context, c Config) (*Machine, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	lock, err := lockCache(ctx, c.Cache, c.Progress)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	m, err := c.prepare(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare node: %w", err)
	}
	return m, nil
}

func (c Config) prepare(ctx context.Context) (*Machine, error) {
	m := &Machine{config: c}
	if err := c.ensurePrerequisites(ctx); err != nil {
		return nil, err
	}
	busybox, err := findBusybox()
	if err != nil {
		return nil, err
	}
	in := rootfsInputs{busybox: busybox, lister: busybox}
	var sysroot string
	if c.platform().foreign() {
		if sysroot, err = c.ensureSysroot(ctx); err != nil {
			return nil, err
		}
		in.busybox = filepath.Join(sysroot, "bin/busybox")
	}
	if m.kernel, err = c.ensureKernel(ctx); err != nil {
		return nil, err
	}
	if m.initramfs, err = c.ensureInitramfs(m.kernel, in.busybox); err != nil {
		return nil, err
	}
	if in.tools, err = c.ensureTools(ctx, sysroot); err != nil {
		return nil, err
	}
	if in.agent, err = c.ensureProgram(ctx, guest.AgentPackage, "agent", "wire"); err != nil {
		return nil, err
	}
	if c.Flavour == Kube {
		if in.cluster, err = c.ensureCluster(ctx); err != nil {
			return nil, err
		}
		if in.bootstrap, err = c.ensureProgram(ctx, guest.BootstrapPackage, "bootstrap"); err != nil {
			return nil, err
		}
	}
	if m.base, err = c.ensureBase(ctx, in); err != nil {
		return nil, err
	}
	if m.accel, err = c.chooseAccel(ctx, m.kernel, m.initramfs); err != nil {
		return nil, err
	}
	return m, nil
}

// vm is the machine with a payload.
func (m *Machine) vm(payload string) vm {
	return vm{
		platform:  m.config.platform(),
		kernel:    m.kernel.image,
		initramfs: m.initramfs,
		accel:     m.accel,
		memory:    m.config.Memory,
		second:    m.config.secondNode(),
		append:    m.config.Append,
		disks: []disk{
			{"base", m.base},
			{"modules", m.kernel.disk},
			{"payload", payload},
		},
	}
}
