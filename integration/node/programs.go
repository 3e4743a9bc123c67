//go:build linux

package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// PrepareTools builds the programs that every guest has, unless the cache has
// them. It returns their folder.
func PrepareTools(ctx context.Context, c Config) (string, error) {
	return c.locked(ctx, func(ctx context.Context) (string, error) {
		if err := c.ensurePrerequisites(ctx); err != nil {
			return "", err
		}
		return c.ensureTools(ctx, "")
	})
}

// PrepareDebianContainerd downloads and unpacks the containerd of the guest's
// suite, unless the cache has it. It returns the folder of its programs, which
// need Debian's C library.
func PrepareDebianContainerd(ctx context.Context, c Config) (string, error) {
	dir, err := c.prepareDebian(ctx, "containerd")
	return filepath.Join(dir, "usr/bin"), err
}

// PrepareDebianDocker does the same for Docker with its containerd. It returns the folder of
// the unpacked packages.
func PrepareDebianDocker(ctx context.Context, c Config) (string, error) {
	return c.prepareDebian(ctx, "docker.io", "containerd")
}

// supervisorPackages are the packages of supervisors that containers have as PID 1, of a
// program that watches the node's memory, and of all that both need. Their scripts are not run.
var supervisorPackages = []string{
	"systemd-oomd", "earlyoom", "tini", "dumb-init", "s6", "libs6-2.11", "libskarnet2.13", "libexecline2.9", "execline",
	"supervisor", "python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib",
	"python3-pkg-resources", "libexpat1", "zlib1g", "libssl3",
	"busybox-static", "libc6",
}

// PrepareDebianSupervisors downloads and unpacks the supervisors of the guest's suite,
// unless the cache has them. It returns the folder, which is a root file system.
func PrepareDebianSupervisors(ctx context.Context, c Config) (string, error) {
	return c.prepareDebian(ctx, supervisorPackages...)
}

// prepareDebian downloads packages of the guest's suite and unpacks them into one folder,
// unless the cache has it. It returns the folder.
func (c Config) prepareDebian(ctx context.Context, packages ...string) (string, error) {
	return c.locked(ctx, func(ctx context.Context) (string, error) {
		if err := c.ensurePrerequisites(ctx); err != nil {
			return "", err
		}
		dir := filepath.Join(c.archCache(), packages[0]+"-"+guestSuite)
		if exists(dir) {
			return dir, nil
		}
		a, err := c.newApt(ctx, guestSuite)
		if err != nil {
			return "", err
		}
		if _, err := a.run(ctx, "apt-get", "update", "-q"); err != nil {
			return "", err
		}
		files, err := a.download(ctx, packages...)
		if err != nil {
			return "", err
		}
		return dir, build(dir, func(tmp string) error {
			for _, file := range files {
				if _, err := output(ctx, "", nil, "dpkg-deb", "-x", file, tmp); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// locked calls prepare while no other process prepares the node.
func (c Config) locked(ctx context.Context, prepare func(context.Context) (string, error)) (string, error) {
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	lock, err := lockCache(ctx, c.Cache, c.Progress)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	return prepare(ctx)
}
