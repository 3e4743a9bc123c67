//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// ErrMissing reports programs that the machine lacks.
var ErrMissing = errors.New("missing programs")

// prerequisite is a file that the machine must have: a program on the search path, or an
// absolute path.
type prerequisite struct {
	file string
	pkg  string // Debian package that has it
}

// adminPath is searched too: the search path of ordinary users lacks it.
const adminPath = "/usr/sbin:/sbin"

func prerequisites(flavour Flavour, p platform) []prerequisite {
	list := []prerequisite{
		{"mke2fs", "e2fsprogs"},
		{"depmod", "kmod"},
		{"xz", "xz-utils"},
		{"busybox", "busybox-static"},
		{"dpkg-deb", "dpkg"},
		{"apt-get", "apt"},
		{"pkg-config", "pkg-config"},
		{debianKeyring, "debian-archive-keyring"},
	}
	list = append(list, p.needs...)
	if flavour.debian() {
		list = append(list, prerequisite{"mmdebstrap", "mmdebstrap"}, prerequisite{"tar", "tar"})
	}
	return list
}

// missingPackages returns the packages of the files that lookup does not find.
func missingPackages(list []prerequisite, lookup func(file string) bool) []string {
	var missing []string
	for _, p := range list {
		if !lookup(p.file) && !slices.Contains(missing, p.pkg) {
			missing = append(missing, p.pkg)
		}
	}
	return missing
}

func onMachine(file string) bool {
	if strings.HasPrefix(file, "/") {
		return exists(file)
	}
	_, err := exec.LookPath(file)
	return err == nil
}

// ensurePrerequisites installs missing packages if it may, or returns an error that names them.
func (c Config) ensurePrerequisites(ctx context.Context) error {
	if err := os.Setenv("PATH", os.Getenv("PATH")+":"+adminPath); err != nil {
		return fmt.Errorf("extend search path: %w", err)
	}
	c.step(1, "prerequisites")
	list := prerequisites(c.Flavour, c.platform())
	missing := missingPackages(list, onMachine)
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 || !onMachine("apt-get") {
		return missingError(missing)
	}
	install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	for _, args := range [][]string{{"update"}, install} {
		c.step(1, "prerequisites: apt-get %s", strings.Join(args, " "))
		if _, err := output(ctx, "", []string{"DEBIAN_FRONTEND=noninteractive"}, "apt-get", args...); err != nil {
			return err
		}
	}
	if missing = missingPackages(list, onMachine); len(missing) > 0 {
		return missingError(missing)
	}
	return nil
}

func missingError(packages []string) error {
	return fmt.Errorf("%w: as root, run: apt-get install --no-install-recommends %s",
		ErrMissing, strings.Join(packages, " "))
}
