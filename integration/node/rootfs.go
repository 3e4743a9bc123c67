//go:build linux

package node

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/oomwitness/oomwitness/integration/guest"
)

// WorkloadRootfs is a folder of the guest with a root file system for
// containers: a static busybox and its links.
const WorkloadRootfs = "/opt/workload-rootfs"

// rootfsInputs are the programs that go into the base disk.
type rootfsInputs struct {
	busybox string
	lister  string // a busybox that this machine can run, to list its applets
	tools   string // folder
	agent   string
	// cluster is the folder of the cluster's programs, empty without a cluster.
	cluster   string // folder
	bootstrap string
}

// ensureBase builds the base disk of the flavour unless the cache has it.
func (c Config) ensureBase(ctx context.Context, in rootfsInputs) (string, error) {
	inputs, err := c.baseKey(in)
	if err != nil {
		return "", err
	}
	prefix := "base-" + string(c.Flavour) + "-"
	image := filepath.Join(c.archCache(), prefix+inputs+".img")
	if exists(image) {
		c.step(4, "base disk %s", c.Flavour)
		return image, used(image, prefix)
	}
	err = build(image, func(tmp string) error {
		root, err := os.MkdirTemp(c.Cache, "rootfs-")
		if err != nil {
			return fmt.Errorf("make rootfs folder: %w", err)
		}
		defer os.RemoveAll(root)
		if err := os.Chmod(root, 0o755); err != nil {
			return fmt.Errorf("make rootfs folder: %w", err)
		}
		if err := c.fillRootfs(ctx, root, in); err != nil {
			return err
		}
		c.step(4, "base disk %s: writing it", c.Flavour)
		return makeDisk(ctx, root, tmp, writableDisk)
	})
	if err != nil {
		return "", fmt.Errorf("base disk: %w", err)
	}
	return image, used(image, prefix)
}

func (c Config) baseKey(in rootfsInputs) (string, error) {
	hash, err := guest.Hash(c.Flavour.trees()...)
	if err != nil {
		return "", err
	}
	busybox, err := fileKey(in.busybox)
	if err != nil {
		return "", err
	}
	inputs := []string{hash, busybox, filepath.Base(in.tools), filepath.Base(filepath.Dir(in.agent)), rootfsLayout}
	if c.Flavour.debian() {
		inputs = append(inputs, debianKey(), strings.Join(maskedUnits, " "))
	}
	if in.cluster != "" {
		inputs = append(inputs, filepath.Base(in.cluster), filepath.Base(filepath.Dir(in.bootstrap)))
	}
	return key(inputs...), nil
}

// rootfsLayout must change when a change in this file makes a different disk of the same
// inputs.
const rootfsLayout = "1"

func (c Config) fillRootfs(ctx context.Context, root string, in rootfsInputs) error {
	c.step(4, "base disk %s: filling it", c.Flavour)
	var err error
	if c.Flavour.debian() {
		err = c.fillSystemd(ctx, root)
	} else {
		err = fillPlain(ctx, root, in)
	}
	if err != nil {
		return err
	}
	for _, tree := range c.Flavour.trees() {
		if err := writeTree(tree, root); err != nil {
			return err
		}
	}
	if err := fillWorkload(ctx, filepath.Join(root, WorkloadRootfs), in); err != nil {
		return err
	}
	if err := copyTree(in.tools, filepath.Join(root, "usr/local/bin")); err != nil {
		return err
	}
	if in.cluster != "" {
		if err := copyTree(in.cluster, filepath.Join(root, "usr/local/bin")); err != nil {
			return err
		}
		if err := copyFile(in.bootstrap, filepath.Join(root, "usr/local/lib/node/bootstrap")); err != nil {
			return err
		}
	}
	// Mount points of the initramfs, and the folder of logs.
	for _, dir := range []string{"dev", "proc", "sys", "usr/lib/modules", "opt/oomwitness", "var/log/oomwitness", "root"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("make guest folder: %w", err)
		}
	}
	return copyFile(in.agent, filepath.Join(root, "usr/local/lib/node/agent"))
}

// fillPlain makes a system of busybox alone, with a merged /usr.
func fillPlain(ctx context.Context, root string, in rootfsInputs) error {
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib", "run", "tmp", "etc", "var/lib", "var/log", "root"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("make guest folder: %w", err)
		}
	}
	for _, link := range [][2]string{
		{"usr/bin", "bin"}, {"usr/sbin", "sbin"}, {"usr/lib", "lib"}, {"../run", "var/run"}, {"../tmp", "var/tmp"},
	} {
		if err := os.Symlink(link[0], filepath.Join(root, link[1])); err != nil {
			return fmt.Errorf("make guest link: %w", err)
		}
	}
	return addApplets(ctx, root, in)
}

// fillWorkload makes the root file system for containers.
func fillWorkload(ctx context.Context, root string, in rootfsInputs) error {
	for _, dir := range []string{"dev", "etc", "proc", "root", "run", "sys", "tmp", "var"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("make workload folder: %w", err)
		}
	}
	passwd := []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), passwd, 0o644); err != nil {
		return fmt.Errorf("write workload users: %w", err)
	}
	return addApplets(ctx, root, in)
}

// addApplets copies busybox to bin, and makes a link to it for each of its applets.
func addApplets(ctx context.Context, root string, in rootfsInputs) error {
	if err := copyFile(in.busybox, filepath.Join(root, "bin/busybox")); err != nil {
		return err
	}
	list, err := output(ctx, "", nil, in.lister, "--list-full")
	if err != nil {
		return err
	}
	for applet := range strings.Lines(list) {
		link := filepath.Join(root, strings.TrimSpace(applet))
		if exists(link) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return fmt.Errorf("make applet folder: %w", err)
		}
		if err := os.Symlink("/bin/busybox", link); err != nil && !os.IsExist(err) {
			return fmt.Errorf("link applet: %w", err)
		}
	}
	return nil
}

// writeTree writes one of the guest's embedded folders. Embedding loses modes: a file with the
// first line of a script is made executable.
func writeTree(name, root string) error {
	tree, err := guest.Tree(name)
	if err != nil {
		return err
	}
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(root, name)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return fmt.Errorf("read guest file: %w", err)
		}
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(content, []byte("#!")) {
			mode = 0o755
		}
		// Debian's own file may be a link to another place.
		if err := os.RemoveAll(target); err != nil {
			return fmt.Errorf("replace guest file: %w", err)
		}
		return os.WriteFile(target, content, mode)
	})
}
