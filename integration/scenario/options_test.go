//go:build linux

package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/mix"
)

// TestOptions runs containers without runtime options, as Docker does, and with
// generic ones, as CRI and ctr send them to a runtime type that they do not know.
// Where the options do not name a cgroup driver, the path of the cgroup does.
func TestOptions(t *testing.T) {
	r := runner(t)
	file := filepath.Join(t.TempDir(), "runc.toml")
	require.NoError(t, os.WriteFile(file, []byte("NoNewKeyring = true\n"), 0o600))
	body := func(d mix.Driver) any {
		return &runtimeoptions.Options{ConfigBody: fmt.Appendf(nil, "SystemdCgroup = %t", d == mix.Systemd)}
	}
	for name, options := range map[string]func(mix.Driver) any{
		"none":  func(mix.Driver) any { return nil },
		"empty": func(mix.Driver) any { return &runtimeoptions.Options{} },
		"body":  body,
		"file":  func(mix.Driver) any { return &runtimeoptions.Options{ConfigPath: file} },
	} {
		t.Run(name, func(t *testing.T) {
			shim := mix.Ours
			shim.Options = options
			for _, which := range []string{"init-oom", "child-oom-exit-1", "exit-3"} {
				c, err := mix.Find(which)
				require.NoError(t, err)
				p, err := r.Prepare(t.Context(), shim, c)
				require.NoError(t, err)
				cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Pid()))
				require.NoError(t, err)
				want := "0::/oomw/" + p.ID()
				if mix.DriverHere() == mix.Systemd {
					want = "0::/system.slice/oomw-" + p.ID() + ".scope"
				}
				require.Equal(t, want, strings.TrimSpace(string(cgroup)))
				o, err := p.Finish(t.Context(), mix.ByWait)
				require.NoError(t, err)
				checkWhole(t, c, o)
			}
		})
	}
}
