package install_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

const agentPath = "/etc/systemd/system/oomwitness-agent.service"

// TestAgentOnly installs the ledger and the agent on a node with any runtime.
func TestAgentOnly(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		line  string
	}{
		"no containerd, as with CRI-O": {nil, `agent --kubernetes=false --address "" $OOMWITNESS_AGENT_FLAGS`},
		"k3s": {map[string]string{"/var/lib/rancher/k3s/agent/etc/containerd/config.toml": "version = 3\n"},
			"agent --kubernetes=false --address /run/k3s/containerd/containerd.sock $OOMWITNESS_AGENT_FLAGS"},
	} {
		t.Run(name, func(t *testing.T) {
			o := systemdTree(t)
			o.Find, o.AgentOnly, o.ConfDir, o.MainConfig = nil, true, "", ""
			for name, text := range test.files {
				put(t, o.Root, name, text)
			}
			before := files(t, o.Root)
			result, err := install.Install(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, actions("create", signPath, commandPath, unitPath, wantPath, agentPath, "/etc/systemd/system/multi-user.target.wants/oomwitness-agent.service"), result.Actions)
			require.Contains(t, get(t, o.Root, agentPath), test.line)
			require.False(t, o.Root.Exists(shimPath))
			require.NotContains(t, strings.Join(result.Notes, "\n"), "restart")
			result, err = install.Uninstall(t.Context(), o)
			require.NoError(t, err)
			require.NotContains(t, strings.Join(result.Notes, "\n"), "restart")
			require.Equal(t, before, files(t, o.Root))
		})
	}
}

// TestAgentOnlyBesideContainerd: the agent's names come from the containerd that was found.
func TestAgentOnlyBesideContainerd(t *testing.T) {
	o := systemdTree(t)
	o.AgentOnly, o.Address, o.Unit = true, "/run/k3s/containerd/containerd.sock", "k3s.service"
	put(t, o.Root, criconf.DefaultPath, "not [ TOML")
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err, "containerd's files are nothing to the agent")
	require.Contains(t, get(t, o.Root, agentPath), " --address /run/k3s/containerd/containerd.sock $OOMWITNESS_AGENT_FLAGS\n")
	require.Contains(t, get(t, o.Root, agentPath), "After=oomwitness-ledger.service k3s.service\n")
	require.Contains(t, get(t, o.Root, unitPath), "Before=k3s.service\n")
	o = tree(t)
	o.AgentOnly = true
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "--agent-only with --systemd-unit auto: the agent is started by systemd")
	require.Empty(t, files(t, o.Root))
	o.SystemdUnit = "true"
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err, "as --agent --systemd-unit true")
	require.True(t, o.Root.Exists(agentPath))
	o = systemdTree(t)
	o.AgentOnly, o.SystemdUnit = true, "false"
	_, err = install.Install(t.Context(), o)
	require.ErrorContains(t, err, "--agent-only with --systemd-unit false: the agent is started by systemd")
	require.False(t, o.Root.Exists(agentPath))
}
