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
	return c.locked(ctx, func(ctx context.Context) (string, error) {
		if err := c.ensurePrerequisites(ctx); err != nil {
			return "", err
		}
		dir := filepath.Join(c.archCache(), "containerd-"+guestSuite)
		if exists(dir) {
			return filepath.Join(dir, "usr/bin"), nil
		}
		a, err := c.newApt(ctx, guestSuite)
		if err != nil {
			return "", err
		}
		if _, err := a.run(ctx, "apt-get", "update", "-q"); err != nil {
			return "", err
		}
		files, err := a.download(ctx, "containerd")
		if err != nil {
			return "", err
		}
		err = build(dir, func(tmp string) error {
			_, err := output(ctx, "", nil, "dpkg-deb", "-x", files[0], tmp)
			return err
		})
		return filepath.Join(dir, "usr/bin"), err
	})
}

// locked makes something while no other process prepares the node.
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
