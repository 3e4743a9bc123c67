//go:build linux

package faultkit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/integration/cri"
)

const (
	// Image is the name of the workload's image, and of the image of the container that holds a
	// pod.
	Image = "oomwitness.test/workload:1"
	// Command is the path of oomwitness.
	Command = "/opt/oomwitness/bin/oomwitness"
	// TasksDir is the folder with the bundles of CRI's containers.
	TasksDir = "/run/containerd/io.containerd.runtime.v2.task/" + cri.Namespace
	// ContainerdLog is the log of containerd and of the shims.
	ContainerdLog = "/var/log/containerd.log"
	// WorkloadFile is the path of the workload in the guest.
	WorkloadFile = "/opt/oomwitness/rootfs/workload"

	busyboxFile = "/opt/workload-rootfs/bin/busybox"
	shimFile    = "/opt/oomwitness/bin/containerd-shim-oomwitness-v2"
	binDir      = "/usr/local/bin"
)

// Install loads the image into containerd, installs the shim, and restarts containerd.
func Install(ctx context.Context) error {
	if err := ImportImage(ctx); err != nil {
		return err
	}
	if err := Run(ctx, Command, "install", "--bin-dir", binDir, "--shim", shimFile, "--systemd-unit", "false"); err != nil {
		return err
	}
	return Run(ctx, "node-containerd", "restart")
}

// ImportImage loads the image into containerd.
func ImportImage(ctx context.Context) error {
	workload, err := os.ReadFile(WorkloadFile)
	if err != nil {
		return err
	}
	shell, err := os.ReadFile(busyboxFile)
	if err != nil {
		return err
	}
	return cri.Import(ctx, cri.Socket, cri.Image{
		Ref: Image, Programs: map[string][]byte{"workload": workload, "bin/sh": shell},
		Folders:    []string{"proc", "sys", "dev", "tmp", "bin", filepath.Base(ControlMount), "etc"},
		Entrypoint: []string{"/workload", "sleep", "1000000"},
	})
}

// Ready waits until CRI has recovered and answers.
func Ready(ctx context.Context, client *cri.Client) error {
	return Until(ctx, "CRI to answer", func() error {
		if _, err := client.Ended(ctx); err != nil {
			return err
		}
		known, err := client.HasImage(ctx, Image)
		if err == nil && !known {
			err = fmt.Errorf("image %s is not known", Image)
		}
		return err
	})
}

// InitPid returns the pid of a CRI container's init, which its bundle has.
func InitPid(id string) (int, error) {
	text, err := os.ReadFile(filepath.Join(TasksDir, id, "init.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// ShimPid returns the pid of the shim that was started for a pod or a container, 0 for none.
func ShimPid(id string) int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline") // an error is possible for a bad pattern alone
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte("containerd-shim")) || !bytes.Contains(line, []byte("-id\x00"+id+"\x00")) {
			continue // most belong to other processes, and some processes have just ended
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			return pid
		}
	}
	return 0
}
