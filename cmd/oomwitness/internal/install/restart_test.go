package install_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// TestNewShimNeedsNoRestart: containerd starts the shim's file as it finds the file.
func TestNewShimNeedsNoRestart(t *testing.T) {
	o := tree(t)
	dir := string(o.Root)
	o.Root, o.BinDir, o.ConfDir, o.MainConfig, o.SystemdUnit = "/", dir+"/bin", dir+"/conf.d", dir+"/config.toml", "false"
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.Shim, []byte("\x7fELF shim 2"), 0o755))
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Actions, install.Action{Verb: "update", Path: o.BinDir + "/" + criconf.ShimName})
	require.NotContains(t, strings.Join(result.Notes, "\n"), "restart containerd for this")
}

// TestRestart works on the running system, in directories of the test's own.
func TestRestart(t *testing.T) {
	o := tree(t)
	dir := string(o.Root)
	o.Root, o.BinDir, o.ConfDir, o.MainConfig = "/", dir+"/bin", dir+"/conf.d", dir+"/config.toml"
	o.UnitDir, o.SystemdUnit = dir+"/units", "false"
	dropin := dir + "/conf.d/" + criconf.DropinName
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, result.Notes[len(result.Notes)-1], "systemctl restart containerd")

	require.NoError(t, os.Remove(dropin))
	require.NoError(t, os.Remove(dir+"/bin/"+criconf.ShimName))
	o.Restart, o.Booted = true, dir
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "--restart-containerd: containerd would not read "+dir+"/conf.d: use --edit-config")
	require.NoFileExists(t, dir+"/bin/"+criconf.ShimName)
	find := o.Find
	o.Find = func(ctx context.Context) (containerd.Daemon, error) {
		d, err := find(ctx)
		d.Dump = nil // the fake dump knows the default folder alone
		return d, err
	}
	require.NoError(t, os.WriteFile(o.MainConfig, []byte("imports = ['conf.d/*.toml']\n"), 0o644))
	o.Booted = dir + "/booted"
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "needs systemd as PID 1")

	require.NoError(t, os.Mkdir(o.Booted, 0o755))
	systemd := &fakeSystemd{}
	o.Systemd, o.Unit = systemd, "k3s.service"
	o.Handlers = func(context.Context, string) ([]string, error) {
		if o.Root.Exists(dropin) {
			return []string{"runc", "oomwitness"}, systemd.fail
		}
		return []string{"runc"}, nil
	}
	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"restart k3s.service"}, systemd.asked)
	require.Equal(t, install.Action{Verb: "restart", Path: "k3s.service"}, result.Actions[3])

	o.DryRun = true
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, systemd.asked, 1, "a dry run restarts nothing")

	o.DryRun, systemd.asked = false, nil
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"restart k3s.service"}, systemd.asked)

	// containerd does not come back.
	before := files(t, rootfs.Dir(dir))
	systemd.asked, systemd.fail = nil, errors.New("unit is masked")
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "containerd did not come back with the new configuration, which was undone: unit is masked")
	require.Equal(t, []string{"restart k3s.service", "restart k3s.service"}, systemd.asked)
	require.Equal(t, before, files(t, rootfs.Dir(dir)))
}

// fakeSystemd is a service manager that fails with an error of the test.
type fakeSystemd struct {
	asked []string
	fail  error
}

func (s *fakeSystemd) Reload(context.Context) error { s.asked = append(s.asked, "reload"); return nil }

func (s *fakeSystemd) Restart(_ context.Context, unit string) error {
	s.asked = append(s.asked, "restart "+unit)
	return s.fail
}

func (s *fakeSystemd) Stop(context.Context, string) error { return nil }

// hanging is a service manager whose restarts do not end by themselves.
type hanging struct{ fakeSystemd }

func (h *hanging) Restart(ctx context.Context, unit string) error {
	h.asked = append(h.asked, "restart "+unit)
	<-ctx.Done()
	return ctx.Err()
}

// TestRestartHangs: a restart of the unit that does not end is given up, and undone.
func TestRestartHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := tree(t)
		dir := string(o.Root)
		o.Root, o.BinDir, o.ConfDir, o.MainConfig = "/", dir+"/bin", dir+"/conf.d", dir+"/config.toml"
		o.UnitDir, o.SystemdUnit, o.Restart, o.Booted, o.Unit = dir+"/units", "false", true, dir, "k3s.service"
		find := o.Find
		o.Find = func(ctx context.Context) (containerd.Daemon, error) {
			d, err := find(ctx)
			d.Dump = nil // the fake dump knows the default folder alone
			return d, err
		}
		require.NoError(t, os.WriteFile(o.MainConfig, []byte("imports = ['conf.d/*.toml']\n"), 0o644))
		before := files(t, rootfs.Dir(dir))
		systemd := &hanging{}
		o.Systemd = systemd
		began := time.Now()
		_, err := install.Install(t.Context(), o)
		require.ErrorContains(t, err, "containerd did not come back with the new configuration, which was undone: context deadline exceeded; see: journalctl -u k3s.service")
		require.Equal(t, []string{"restart k3s.service", "restart k3s.service"}, systemd.asked)
		require.Equal(t, before, files(t, rootfs.Dir(dir)))
		require.Equal(t, 4*time.Minute, time.Since(began))
	})
}
