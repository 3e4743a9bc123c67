//go:build linux

package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// sysrootPackages are packages of a foreign guest whose files the build needs: the guest's
// busybox, and the library of runc.
var sysrootPackages = []string{"busybox-static", "libseccomp-dev"}

// ensureSysroot unpacks packages of a foreign architecture, without installing
// them, unless the cache has them. It returns their folder.
func (c Config) ensureSysroot(ctx context.Context) (string, error) {
	dir := filepath.Join(c.archCache(), "sysroot-"+key(append(sysrootPackages, guestSuite)...))
	if exists(dir) {
		return dir, used(dir, "sysroot-")
	}
	c.step(3, "tools: downloading what they need of %s", c.Arch)
	a, err := c.newApt(ctx, guestSuite)
	if err != nil {
		return "", err
	}
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return "", err
	}
	files, err := a.download(ctx, sysrootPackages...)
	if err != nil {
		return "", err
	}
	err = build(dir, func(tmp string) error {
		for _, file := range files {
			if _, err := output(ctx, "", nil, "dpkg-deb", "-x", file, tmp); err != nil {
				return err
			}
		}
		return os.RemoveAll(filepath.Join(a.dir, "download"))
	})
	if err != nil {
		return "", fmt.Errorf("packages of %s: %w", c.Arch, err)
	}
	return dir, used(dir, "sysroot-")
}
