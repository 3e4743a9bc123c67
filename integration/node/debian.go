//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The suite of the flavours with systemd, and their packages beside the essential ones. udev is
// not needed: devtmpfs makes the devices.
const (
	guestSuite    = "bookworm"
	guestPackages = "systemd,systemd-sysv,dbus,kmod,procps"
)

// errNeedsRoot reports that only root can make this flavour.
var errNeedsRoot = errors.New("a flavour with systemd must be prepared as root")

// maskedUnits are units that are not started: a node runs for minutes, without users, network
// or clock drift.
var maskedUnits = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
	"systemd-tmpfiles-clean.timer", "e2scrub_reap.service", "getty@tty1.service", "serial-getty@ttyS0.service",
	"systemd-logind.service", "systemd-random-seed.service", "systemd-update-utmp.service",
	"systemd-machine-id-commit.service", "systemd-firstboot.service", "systemd-hwdb-update.service",
	"systemd-pstore.service", "systemd-modules-load.service", "systemd-remount-fs.service", "ldconfig.service",
	"systemd-sysusers.service", "systemd-update-done.service", "systemd-journal-catalog-update.service",
	"dev-hugepages.mount", "sys-fs-fuse-connections.mount", "systemd-ask-password-wall.path",
	"systemd-ask-password-console.path", "modprobe@dm_mod.service", "modprobe@loop.service",
	"modprobe@drm.service", "modprobe@fuse.service", "modprobe@efi_pstore.service", "modprobe@configfs.service",
	"sys-kernel-config.mount", "kmod-static-nodes.service", "systemd-tmpfiles-setup-dev.service",
}

func debianKey() string { return key(guestSuite, guestPackages) }

// fillSystemd makes a Debian with systemd.
func (c Config) fillSystemd(ctx context.Context, root string) error {
	archive, err := c.ensureDebian(ctx)
	if err != nil {
		return err
	}
	if _, err := output(ctx, "", nil, "tar", "-xf", archive, "-C", root, "--numeric-owner"); err != nil {
		return err
	}
	if c.platform().foreign() {
		if err := settle(root); err != nil {
			return err
		}
	}
	units := filepath.Join(root, "etc/systemd/system")
	for _, unit := range maskedUnits {
		if err := os.Symlink("/dev/null", filepath.Join(units, unit)); err != nil && !os.IsExist(err) {
			return fmt.Errorf("mask unit: %w", err)
		}
	}
	if err := os.RemoveAll(filepath.Join(units, "default.target")); err != nil {
		return fmt.Errorf("replace default target: %w", err)
	}
	if err := os.Symlink("node.target", filepath.Join(units, "default.target")); err != nil {
		return fmt.Errorf("set default target: %w", err)
	}
	id := strings.Repeat("0123456789abcdef", 2)
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte(id+"\n"), 0o444); err != nil {
		return fmt.Errorf("write machine id: %w", err)
	}
	return nil
}

// ensureDebian makes an archive of the packages unless the cache has it. A change of the
// guest's own files then needs no second installation of Debian.
func (c Config) ensureDebian(ctx context.Context) (string, error) {
	archive := filepath.Join(c.archCache(), "debian-"+debianKey()+".tar")
	if exists(archive) {
		return archive, used(archive, "debian-")
	}
	if os.Geteuid() != 0 {
		return "", errNeedsRoot
	}
	c.step(4, "base disk %s: installing Debian %s", c.Flavour, guestSuite)
	a, err := c.newApt(ctx, guestSuite)
	if err != nil {
		return "", err
	}
	variant := []string{"--variant=minbase"}
	if c.platform().foreign() {
		variant = extractFlags(c.platform().arch)
	}
	args := append([]string{"--quiet", "--mode=root", "--format=tar"}, variant...)
	args = append(args, "--include="+guestPackages, "--keyring="+debianKeyring,
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*")
	err = build(archive, func(tmp string) error {
		_, err := output(ctx, "", nil, "mmdebstrap", append(args, guestSuite, tmp, a.sources)...)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("install Debian: %w", err)
	}
	return archive, used(archive, "debian-")
}
