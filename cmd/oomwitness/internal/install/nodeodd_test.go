package install_test

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestOddFiles: the node's configuration cannot be replaced, or has a second link, or several
// installs run at once.
func TestOddFiles(t *testing.T) {
	needNodes(t)
	for _, node := range []string{"kubeadm/1.7", "kubeadm/2.2"} {
		t.Run(node, func(t *testing.T) {
			t.Parallel()
			inNode(t, node, "TestOddFilesInNode")
		})
	}
}

func TestOddFilesInNode(t *testing.T) {
	n := here(t)
	before, handlers := n.kept(), n.handlers()
	bind := func(of, to string, flags uintptr) (undo func()) {
		require.NoError(t, syscall.Mount(of, to, "", syscall.MS_BIND, ""))
		require.NoError(t, syscall.Mount("", to, "", syscall.MS_BIND|syscall.MS_REMOUNT|flags, ""))
		return func() { require.NoError(t, syscall.Unmount(to, 0)) }
	}
	refused := 0
	for want, odd := range map[string]func() (undo func()){
		mainFile + " is a mount of its own, and is edited where it comes from": func() func() {
			n.write("/run/own.toml", n.files[mainFile])
			return bind("/run/own.toml", mainFile, 0)
		},
		mainFile + " or its folder is immutable or append-only (chattr -i -a takes the attributes away)": func() func() {
			if exec.CommandContext(t.Context(), "chattr", "+i", mainFile).Run() != nil {
				t.Log("not tried: a tmpfs of this kernel has no immutable files")
				return nil
			}
			return func() { require.NoError(t, exec.Command("chattr", "-i", mainFile).Run()) }
		},
		"read-only file system": func() func() { return bind("/etc", "/etc", syscall.MS_RDONLY) },
	} {
		undo := odd()
		if undo == nil {
			continue
		}
		_, err := install.Install(t.Context(), n.options())
		require.ErrorContains(t, err, want)
		undo()
		n.same(before, want)
		require.ElementsMatch(t, handlers, n.handlers())
		refused++
	}

	const other = "/etc/containerd-other-name.toml"
	require.NoError(t, os.Link(mainFile, other))
	var group sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		group.Go(func() { _, errs[i] = install.Install(t.Context(), n.options()) })
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Contains(t, n.handlers(), "oomwitness")
	_, err := install.Uninstall(t.Context(), n.options())
	require.NoError(t, err)
	require.NoError(t, os.Remove(other))
	n.same(before, "four installs at once")
	t.Logf("node=%q containerd=%s %d files that cannot be replaced; four installs at once", n.name, n.version, refused)
}
