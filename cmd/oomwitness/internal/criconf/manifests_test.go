package criconf_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

var write = flag.Bool("write", false, "write runtime-class/containerd again")

// TestManifests: the drop-ins in runtime-class equal those that install writes on a node
// without settings of its own.
func TestManifests(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "..", "runtime-class", "containerd")
	for _, version := range []int{2, 3} {
		for driver, systemd := range map[string]bool{"systemd": true, "cgroupfs": false} {
			name := filepath.Join(dir, fmt.Sprintf("version-%d-%s.toml", version, driver))
			want, err := criconf.Dropin{
				Version: version, Handler: criconf.DefaultHandler, Shim: shim, SystemdCgroup: systemd,
			}.Render()
			require.NoError(t, err)
			if *write {
				require.NoError(t, os.MkdirAll(dir, 0o755))
				require.NoError(t, os.WriteFile(name, want, 0o644))
			}
			have, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Equal(t, string(want), string(have),
				"write it again: go test ./cmd/oomwitness/internal/criconf -run TestManifests -write")
		}
	}
}
