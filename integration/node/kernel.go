//go:build linux

package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultKernel is the name of the kernel used when none is chosen.
const DefaultKernel = "6.1"

// Kernel is a series of kernels that a node can boot.
type Kernel struct {
	// Name is the name by which users choose the kernel.
	Name string
	// Suite is the Debian suite with the kernel's packages.
	Suite string
	// Pattern is a regular expression of the packages' names, with %s for the architecture.
	Pattern string
}

// Kernels is the table of kernels, oldest first.
var Kernels = []Kernel{
	{"5.10", "bullseye", `^linux-image-5\.10\.[0-9.-]*-cloud-%s$`},
	{"6.1", "bookworm", `^linux-image-6\.1\.[0-9.-]*-cloud-%s$`},
	{"6.12", "trixie", `^linux-image-6\.12\.[0-9.+a-z-]*-cloud-%s$`},
	{"7", "forky", `^linux-image-7\.[0-9.+a-z-]*-cloud-%s$`},
}

// packages returns the regular expression of the packages' names for an architecture.
func (k Kernel) packages(arch Arch) string { return fmt.Sprintf(k.Pattern, arch) }

// kernelByName finds a kernel in the table.
func kernelByName(name string) (Kernel, error) {
	var names []string
	for _, kernel := range Kernels {
		if kernel.Name == name {
			return kernel, nil
		}
		names = append(names, kernel.Name)
	}
	return Kernel{}, fmt.Errorf("unknown kernel %q: have %s", name, strings.Join(names, ", "))
}

// kernelFiles is an unpacked kernel in the cache.
type kernelFiles struct {
	image   string // vmlinuz
	modules string // folder with modules, modules.dep and so on of one release
	disk    string // the modules as a disk image
	release string // as uname -r
	version string // of the package
}

// ensureKernel downloads and unpacks the kernel unless the cache has it. A
// cached kernel stays until the cache is cleaned.
func (c Config) ensureKernel(ctx context.Context) (*kernelFiles, error) {
	kernel, err := kernelByName(c.Kernel)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.archCache(), "kernels", kernel.Name)
	if !exists(dir) {
		if err := build(dir, func(tmp string) error { return c.fetchKernel(ctx, kernel, tmp) }); err != nil {
			return nil, fmt.Errorf("kernel %s: %w", kernel.Name, err)
		}
	}
	files, err := readKernel(dir)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", kernel.Name, err)
	}
	c.step(2, "kernel %s", files.version)
	return files, nil
}

func (c Config) fetchKernel(ctx context.Context, kernel Kernel, dir string) error {
	c.step(2, "kernel %s: reading package lists of %s", kernel.Name, kernel.Suite)
	a, err := c.newApt(ctx, kernel.Suite)
	if err != nil {
		return err
	}
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return err
	}
	name, version, err := newestPackage(ctx, a, kernel.packages(c.platform().arch))
	if err != nil {
		return err
	}
	c.step(2, "kernel %s: downloading %s", version, name)
	packages, err := downloadKernel(ctx, a, name, version)
	if err != nil {
		return err
	}
	c.step(2, "kernel %s: unpacking", version)
	if err := unpackKernel(ctx, packages, dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte(version), 0o644); err != nil {
		return fmt.Errorf("write version: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(a.dir, "download")); err != nil {
		return fmt.Errorf("remove downloads: %w", err)
	}
	return nil
}

// downloadKernel returns the package files of a kernel. Since forky the image
// and the modules are packages of their own, on which linux-image depends.
func downloadKernel(ctx context.Context, a *apt, name, version string) ([]string, error) {
	shown, err := a.run(ctx, "apt-cache", "show", name+"="+version)
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, pkg := range append(kernelParts(name, controlField(shown, "Depends")), name) {
		packages = append(packages, pkg+"="+version)
	}
	return a.download(ctx, packages...)
}

// kernelParts returns the dependencies that belong to the same release.
func kernelParts(name, depends string) []string {
	release := strings.TrimPrefix(name, "linux-image-")
	var parts []string
	for _, alternative := range strings.Split(depends, ",") {
		pkg, _, _ := strings.Cut(strings.TrimSpace(alternative), " ")
		if strings.HasSuffix(pkg, "-"+release) {
			parts = append(parts, pkg)
		}
	}
	return parts
}

// newestPackage returns the matching package with the highest version.
func newestPackage(ctx context.Context, a *apt, pattern string) (name, version string, err error) {
	list, err := a.run(ctx, "apt-cache", "search", "--names-only", pattern)
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		shown, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", fields[0])
		if err != nil {
			return "", "", err
		}
		candidate := controlField(shown, "Version")
		if version == "" || newerVersion(ctx, candidate, version) {
			name, version = fields[0], candidate
		}
	}
	if name == "" {
		return "", "", fmt.Errorf("no package matches %s", pattern)
	}
	return name, version, nil
}

func newerVersion(ctx context.Context, a, b string) bool {
	_, err := output(ctx, "", nil, "dpkg", "--compare-versions", a, "gt", b)
	return err == nil
}

// controlField returns the first value of a field in a package's description.
func controlField(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// unpackKernel fills dir with vmlinuz, lib/modules/RELEASE and modules.img.
func unpackKernel(ctx context.Context, debs []string, dir string) error {
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("make kernel folder: %w", err)
	}
	for _, deb := range debs {
		if _, err := output(ctx, "", nil, "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	// Since forky the image, too, is in the modules' folder.
	modules, err := one(filepath.Join(root, "lib/modules/*"), filepath.Join(root, "usr/lib/modules/*"))
	if err != nil {
		return err
	}
	release := filepath.Base(modules)
	image, err := one(filepath.Join(root, "boot/vmlinuz-"+release), filepath.Join(modules, "vmlinuz"))
	if err != nil {
		return err
	}
	if err := os.Rename(image, filepath.Join(dir, "vmlinuz")); err != nil {
		return fmt.Errorf("keep vmlinuz: %w", err)
	}
	kept := filepath.Join(dir, "lib", "modules")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return fmt.Errorf("make modules folder: %w", err)
	}
	if err := os.Rename(modules, filepath.Join(kept, release)); err != nil {
		return fmt.Errorf("keep modules: %w", err)
	}
	if err := prepareModules(ctx, dir, release); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("remove unpacked package: %w", err)
	}
	return makeDisk(ctx, kept, filepath.Join(dir, "modules.img"), readOnlyDisk)
}

func readKernel(dir string) (*kernelFiles, error) {
	modules, err := one(filepath.Join(dir, "lib/modules/*"))
	if err != nil {
		return nil, err
	}
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil {
		return nil, fmt.Errorf("read version: %w", err)
	}
	return &kernelFiles{
		image:   filepath.Join(dir, "vmlinuz"),
		modules: modules,
		disk:    filepath.Join(dir, "modules.img"),
		release: filepath.Base(modules),
		version: string(version),
	}, nil
}

// one returns the only file that matches one of the patterns.
func one(patterns ...string) (string, error) {
	var found []string
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("look for %s: %w", pattern, err)
		}
		found = append(found, names...)
	}
	found = slices.Compact(found)
	if len(found) != 1 {
		return "", fmt.Errorf("%d files match %s, want one", len(found), strings.Join(patterns, ", "))
	}
	return found[0], nil
}
