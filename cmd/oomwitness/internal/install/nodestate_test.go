package install_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
)

// kept returns the node's own files: files that are made anew at each start do not count.
func (n *liveNode) kept() map[string]string {
	n.Helper()
	out := map[string]string{}
	for _, dir := range []string{"/etc", "/var/lib/rancher", "/var/snap", "/opt", "/home", "/usr/local/bin", "/usr/share/containerd"} {
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && (!entry.Type().IsRegular() && entry.Type() != fs.ModeSymlink || slices.Contains(n.made, name)) {
				return nil
			}
			info, err := os.Lstat(name)
			require.NoError(n, err)
			if info.Size() > 1<<20 || strings.Contains(name, "/agent/containerd/") || strings.Contains(name, "/opt/containerd") || strings.Contains(name, "microk8s/common/run/") || strings.Contains(name, "microk8s/common/var/") {
				return nil
			}
			data, _ := os.ReadFile(name)
			out[name] = fmt.Sprintf("%s\n%s", info.Mode(), data)
			return nil
		})
		require.NoError(n, err)
	}
	return out
}

// same wants the node's files to be as before.
func (n *liveNode) same(before map[string]string, when string) {
	n.Helper()
	after := n.kept()
	for name, text := range before {
		require.Equal(n, text, after[name], "%s: %s", name, when)
		delete(after, name)
	}
	for name := range after {
		require.Fail(n, "a file more", "%s: %s", name, when)
	}
}
