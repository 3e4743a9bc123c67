//go:build !no_loader

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

// newGeneration names one. Tier and version are in the name, so that they change
// in the same step as the link.
func newGeneration(dir string, tier Tier, version uint32) generation {
	name := fmt.Sprintf("%s%d_%d_%v_%d", genPrefix, BootNow(), os.Getpid(), tier, version)
	return generation{dir: dir, name: name}
}

// makeCurrent puts the generation in force.
func (g generation) makeCurrent() error {
	next := filepath.Join(g.dir, nextName)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("switch the OOM ledger: %w", err)
	}
	if err := os.Symlink(g.name, next); err != nil {
		return fmt.Errorf("switch the OOM ledger: %w", err)
	}
	step("link made")
	if err := os.Rename(next, filepath.Join(g.dir, currentName)); err != nil {
		return fmt.Errorf("switch the OOM ledger: %w", err)
	}
	return nil
}

// loadMap opens a map for the programs to go on with.
func (g generation) loadMap(name string) (*ebpf.Map, error) {
	m, err := g.openMap(name, pinned.ReadWrite)
	if err != nil {
		return nil, err
	}
	whole, err := ebpf.NewMapFromFD(m.Release())
	if err != nil {
		return nil, fmt.Errorf("open the OOM ledger's %s: %w", name, err)
	}
	return whole, nil
}

// remove unpins everything: links without a pin detach, maps go when their last
// reader does.
func (g generation) remove() error {
	if err := os.RemoveAll(filepath.Join(g.dir, g.name)); err != nil {
		return fmt.Errorf("remove a stale generation of the OOM ledger: %w", err)
	}
	return nil
}

// removeStale removes what loaders that died have left: all generations but one.
func removeStale(dir, keep string) error {
	gens, err := otherGenerations(dir, keep)
	if err != nil {
		return err
	}
	for _, g := range gens {
		if err := g.remove(); err != nil {
			return err
		}
	}
	return nil
}

// ensureBPFFS makes dir, root's alone, on a BPF filesystem, mounting it at its usual place if
// that is where dir is and nobody has.
func ensureBPFFS(dir string) error {
	parent := filepath.Dir(dir)
	ok, err := onBPFFS(parent)
	if err != nil {
		return err
	}
	if !ok && parent == filepath.Dir(DefaultDir) {
		if err := unix.Mount("bpf", parent, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return permission(fmt.Errorf("mount the BPF filesystem on %s: %w", parent, err), capSysAdmin)
		}
	} else if !ok {
		return fmt.Errorf("%s %w", parent, ErrNotBPFFS)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return permission(fmt.Errorf("make the OOM ledger's folder: %w", err))
	}
	return rootsAlone(dir)
}

func onBPFFS(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("look for the BPF filesystem at %s: %w", dir, err)
	}
	return uint32(st.Type) == unix.BPF_FS_MAGIC, nil
}
