package install_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestDockerLeavesTheShimToCRI: if containerd's configuration names the shim anywhere, the end
// of the registration with Docker does not remove the shim.
func TestDockerLeavesTheShimToCRI(t *testing.T) {
	const imported = "/etc/containerd/o/a.toml"
	handler := "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.mine]\nruntime_type = 'io.containerd.runc.v2'\nruntime_path = '" + shimPath + "'\n"
	block, err := criconf.AppendBlock([]byte("version = 2\n"), []byte(handler[len("version = 2\n"):]))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		main, imported string
		stays          bool
	}{
		"in no file":                {"version = 2\nimports = ['o/a.toml']\n", "version = 2\n", false},
		"in the main file":          {handler, "", true},
		"in an imported file":       {"version = 2\nimports = ['o/a.toml']\n", handler, true},
		"a block in that":           {"version = 2\nimports = ['o/a.toml']\n", string(block), true},
		"cannot be read, so may be": {"version = 2\nimports = ['o/gone.toml']\n", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			o := tree(t)
			o.Docker.Wanted = true
			put(t, o.Root, criconf.DefaultPath, test.main)
			put(t, o.Root, imported, test.imported)
			_, err := install.InstallDocker(t.Context(), o)
			require.NoError(t, err)
			_, err = install.Uninstall(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, test.stays, o.Root.Exists(shimPath))
		})
	}
}
