package install_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

const (
	commandPath = "/usr/local/bin/oomwitness"
	signPath    = "/usr/local/bin/oomwitness.installed"
	unitPath    = "/etc/systemd/system/oomwitness-ledger.service"
	wantPath    = "/etc/systemd/system/multi-user.target.wants/oomwitness-ledger.service"
)

// systemdTree is a tree with systemd in it.
func systemdTree(t *testing.T) install.Options {
	o := tree(t)
	put(t, o.Root, "/usr/lib/systemd/systemd", "")
	return o
}

func TestUnitTwiceAndBack(t *testing.T) {
	o := systemdTree(t)
	before := files(t, o.Root)
	all := []string{shimPath, dropinPath, signPath, commandPath, unitPath, wantPath}

	dry := o
	dry.DryRun = true
	result, err := install.Install(t.Context(), dry)
	require.NoError(t, err)
	require.Equal(t, actions("create", all...), result.Actions)
	require.Equal(t, before, files(t, o.Root), "a dry run writes nothing")

	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("create", all...), result.Actions)
	require.True(t, result.HasUnit())
	unit := get(t, o.Root, unitPath)
	for _, line := range []string{
		"Type=oneshot", "RemainAfterExit=yes", "After=sys-fs-bpf.mount local-fs.target", "Before=containerd.service",
		"ExecStart=/usr/local/bin/oomwitness load", "WantedBy=multi-user.target",
	} {
		require.Contains(t, unit, "\n"+line+"\n")
	}
	target, err := os.Readlink(o.Root.Entry(wantPath))
	require.NoError(t, err)
	require.Equal(t, unitPath, target, "as seen from inside")

	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("unchanged", shimPath, dropinPath, commandPath, unitPath, wantPath), result.Actions)

	require.NoError(t, os.Remove(o.Root.Entry(wantPath)))
	require.NoError(t, os.Symlink("/elsewhere", o.Root.Entry(wantPath)))
	result, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, install.Action{Verb: "update", Path: wantPath}, result.Actions[4])

	removed := actions("remove", dropinPath, shimPath, wantPath, unitPath, commandPath, signPath)
	result, err = install.Uninstall(t.Context(), dry)
	require.NoError(t, err)
	require.Equal(t, removed, result.Actions)
	result, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, removed, result.Actions)
	require.Equal(t, before, files(t, o.Root))
	result, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("absent", dropinPath, shimPath), result.Actions)
}

// TestUnitLinkOfAKilledUninstall: the next uninstall removes the links that a killed one left
// beside the link that enables the unit.
func TestUnitLinkOfAKilledUninstall(t *testing.T) {
	o := tree(t)
	o.SystemdUnit = "true"
	before := files(t, o.Root)
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	const wants = "/etc/systemd/system/multi-user.target.wants/"
	for _, name := range []string{".undo.tmp", ".link.tmp"} {
		require.NoError(t, os.Symlink("/etc/systemd/system/"+install.UnitName, o.Root.Path(wants+"."+install.UnitName+name)))
	}
	_, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, before, files(t, o.Root))
}

func TestUnitFlag(t *testing.T) {
	for name, test := range map[string]struct {
		flag    string
		systemd bool
		want    bool
	}{
		"auto with systemd": {"auto", true, true}, "auto without": {"auto", false, false},
		"true without": {"true", false, true}, "false with systemd": {"false", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := tree(t)
			if test.systemd {
				o = systemdTree(t)
			}
			o.SystemdUnit = test.flag
			result, err := install.Install(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, test.want, o.Root.Exists(unitPath))
			require.Equal(t, test.want, result.HasUnit())
			require.True(t, o.Root.Exists(commandPath), "the shim runs the command too")
		})
	}
}

func TestUnitOfSomebodyElse(t *testing.T) {
	o := systemdTree(t)
	put(t, o.Root, unitPath, "[Unit]\n")
	before := files(t, o.Root)
	_, err := install.Install(t.Context(), o)
	require.ErrorContains(t, err, unitPath+" was not written by oomwitness install")
	_, err = install.Uninstall(t.Context(), o)
	require.ErrorContains(t, err, unitPath+" was not written by oomwitness install")
	require.Equal(t, before, files(t, o.Root))
	o.Force = true
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, get(t, o.Root, unitPath), "ExecStart")

	require.NoError(t, os.Remove(o.Root.Entry(wantPath)))
	put(t, o.Root, wantPath, "a file")
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "is there and is not a symbolic link")
}

func TestUnitQuotesItsPath(t *testing.T) {
	o := systemdTree(t)
	o.BinDir = `/opt/100% "x`
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, get(t, o.Root, unitPath), `ExecStart="/opt/100%% \"x/oomwitness" load`)
}

func TestAgentUnit(t *testing.T) {
	const (
		agentPath = "/etc/systemd/system/oomwitness-agent.service"
		agentWant = "/etc/systemd/system/multi-user.target.wants/oomwitness-agent.service"
	)
	o := systemdTree(t)
	before := files(t, o.Root)
	o.Agent = true
	result, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("create", shimPath, dropinPath, signPath, commandPath, unitPath, wantPath, agentPath, agentWant), result.Actions)
	unit := get(t, o.Root, agentPath)
	for _, line := range []string{
		"Wants=oomwitness-ledger.service", "After=oomwitness-ledger.service containerd.service", "OOMScoreAdjust=-999",
		"ExecStart=/usr/local/bin/oomwitness agent --kubernetes=false $OOMWITNESS_AGENT_FLAGS", "CapabilityBoundingSet=CAP_BPF",
		"ProtectSystem=strict", "MemoryMax=80M",
	} {
		require.Contains(t, unit, "\n"+line+"\n")
	}
	o.Agent = false // what is there stays, and goes with the rest
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err)
	require.True(t, o.Root.Exists(agentPath))
	result, err = install.Uninstall(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, actions("remove", dropinPath, shimPath, agentWant, agentPath, wantPath, unitPath, commandPath, signPath), result.Actions)
	require.Equal(t, before, files(t, o.Root))

	o.Agent, o.SystemdUnit = true, "false"
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "--agent")
	require.Equal(t, before, files(t, o.Root))
}
