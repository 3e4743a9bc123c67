//go:build linux

package shimtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// deleteContainers removes the containers that runc still has.
func (n *Node) deleteContainers() error {
	root := filepath.Join(n.RuncRoot(), n.cfg.Namespace)
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var errs []error
	for _, entry := range entries {
		cmd := exec.CommandContext(ctx, n.cfg.Runc, "--root", root, "delete", "--force", entry.Name())
		if out, err := cmd.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("runc delete %s: %w\n%s", entry.Name(), err, out))
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes the node's parent cgroup in every hierarchy, and the cgroup above it if
// no other node uses that.
func (n *Node) removeCgroups() error {
	if n.cfg.SystemdCgroup {
		return nil // systemd removes its scopes
	}
	var errs []error
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		parents, err := filepath.Glob(filepath.Join(pattern, "oomwitness-test"))
		if err != nil {
			return err
		}
		for _, parent := range parents {
			errs = append(errs, removeCgroup(filepath.Join(parent, n.Name())))
			_ = os.Remove(parent)
		}
	}
	return errors.Join(errs...)
}

func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
