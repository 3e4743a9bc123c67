//go:build linux

package node

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bootModules are loaded by the initramfs in this order: each stands after the modules that it
// needs. The kernel may have any of them built in.
var bootModules = []string{"virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4", "overlay"}

// prepareModules unpacks the modules, which busybox cannot, and writes the tables of
// dependencies, which the package lacks.
func prepareModules(ctx context.Context, dir, release string) error {
	var packed []string
	root := filepath.Join(dir, "lib/modules", release)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".ko.xz") {
			packed = append(packed, name)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list modules: %w", err)
	}
	for part := range slices.Chunk(packed, 500) {
		if _, err := output(ctx, "", nil, "xz", append([]string{"-d"}, part...)...); err != nil {
			return err
		}
	}
	_, err = output(ctx, "", nil, "depmod", "-b", dir, release)
	return err
}

// moduleTable has a kernel's modules by name, with the files that they depend on, and the names
// of built-in modules.
type moduleTable struct {
	files   map[string]string   // name -> file
	needs   map[string][]string // file -> files, as in modules.dep
	builtin map[string]bool
}

// moduleName returns the name of the module in a file: kernel tools treat - as _.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// parseModules reads the texts of modules.dep and modules.builtin.
func parseModules(dep, builtin string) moduleTable {
	table := moduleTable{map[string]string{}, map[string][]string{}, map[string]bool{}}
	for line := range strings.Lines(dep) {
		file, needs, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		table.files[moduleName(file)] = file
		table.needs[file] = strings.Fields(needs)
	}
	for line := range strings.Lines(builtin) {
		table.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return table
}

// order returns the files to load for the names, dependencies first.
func (t moduleTable) order(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		if t.builtin[name] {
			continue
		}
		file, ok := t.files[name]
		if !ok {
			return nil, fmt.Errorf("kernel has no module %s", name)
		}
		// modules.dep lists all dependencies, the deepest last.
		needs := slices.Clone(t.needs[file])
		slices.Reverse(needs)
		for _, need := range append(needs, file) {
			if !slices.Contains(files, need) {
				files = append(files, need)
			}
		}
	}
	return files, nil
}

// readModules reads the table of an unpacked kernel.
func readModules(dir string) (moduleTable, error) {
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return moduleTable{}, fmt.Errorf("read module table: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return moduleTable{}, fmt.Errorf("read module table: %w", err)
	}
	return parseModules(string(dep), string(builtin)), nil
}
