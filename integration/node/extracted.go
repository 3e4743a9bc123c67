//go:build linux

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// extractFlags returns mmdebstrap's flags for an architecture whose programs cannot run on this
// machine: packages are unpacked, and their scripts are not run. The variant has no packages of
// its own, and does not merge /usr.
func extractFlags(arch Arch) []string {
	return []string{
		"--arch=" + string(arch), "--variant=extract", "--include=?essential", "--include=usr-is-merged",
		`--setup-hook=for dir in bin sbin lib; do mkdir -p "$1/usr/$dir" && ln -s "usr/$dir" "$1/$dir"; done`,
	}
}

// Accounts that packages' scripts make and base-passwd does not have: the group of systemd's
// journal, and the account of the bus, which does not start without it.
const (
	extraUsers  = "messagebus:x:100:101::/nonexistent:/usr/sbin/nologin\n"
	extraGroups = "systemd-journal:x:999:\nmessagebus:x:101:\n"
)

// settle does what the scripts of unpacked packages would have done, as far as a node needs
// that: accounts, a shell, and awk.
func settle(root string) error {
	for name, extra := range map[string]string{"passwd": extraUsers, "group": extraGroups} {
		master, err := os.ReadFile(filepath.Join(root, "usr/share/base-passwd", name+".master"))
		if err != nil {
			return fmt.Errorf("read accounts: %w", err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(accounts(string(master))+extra), 0o644); err != nil {
			return fmt.Errorf("write accounts: %w", err)
		}
	}
	for link, target := range map[string]string{"usr/bin/sh": "dash", "usr/bin/awk": "mawk"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil && !os.IsExist(err) {
			return fmt.Errorf("link program: %w", err)
		}
	}
	return nil
}

// accounts returns /etc/passwd or /etc/group made of Debian's template. The x says that
// passwords are in another file.
func accounts(master string) string { return strings.ReplaceAll(master, ":*:", ":x:") }
