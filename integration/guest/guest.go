// Package guest holds the files for the node's virtual machine: scripts, units and
// configuration, embedded, and the source of the agent.
package guest

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// Import paths of the agent, and of the command that makes a cluster.
const (
	AgentPackage     = "github.com/oomwitness/oomwitness/integration/guest/agent"
	BootstrapPackage = "github.com/oomwitness/oomwitness/integration/guest/bootstrap"
)

// files also has the source of the guest's programs, so that the hash of all
// files changes with it. Folders: initramfs, common (all flavours), plain,
// systemd, kube (on top of systemd).
//
//go:embed initramfs common plain systemd kube agent wire bootstrap
var files embed.FS

// Tree returns one of the embedded folders.
func Tree(name string) (fs.FS, error) {
	tree, err := fs.Sub(files, name)
	if err != nil {
		return nil, fmt.Errorf("guest files %s: %w", name, err)
	}
	return tree, nil
}

// Hash returns a hash of the content of the named folders.
func Hash(folders ...string) (string, error) {
	sum := sha256.New()
	for _, folder := range folders {
		err := fs.WalkDir(files, folder, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := files.ReadFile(name)
			if err != nil {
				return fmt.Errorf("read guest file: %w", err)
			}
			fmt.Fprintf(sum, "%s %d\n%s\n", name, len(content), content)
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
