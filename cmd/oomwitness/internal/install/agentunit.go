package install

import (
	"context"
	"errors"
	"fmt"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
)

// AgentEnvironment is the path of a file of the node's owner. OOMWITNESS_AGENT_FLAGS=--flag...
// in that file adds flags to the agent's.
const AgentEnvironment = "/etc/default/oomwitness-agent"

// agentUnit returns the unit file of the agent on a node without Kubernetes. The agent needs
// CAP_BPF for the ledger's maps. It runs as root without any other capability, because root
// owns the cgroups, containerd's socket and the ledger's folder.
func (o Options) agentUnit() []byte {
	return fmt.Appendf(nil, `%s; "oomwitness uninstall" removes it.
# The agent reports every OOM kill to log and metrics. It must live through the OOM
# itself: the OOM killer takes it last, and what it needs is kept for it.
[Unit]
Description=Agent that reports OOM kills (oomwitness)
Wants=%s
After=%s %s

[Service]
Type=exec
EnvironmentFile=-%s
ExecStart=%s agent --kubernetes=false%s $OOMWITNESS_AGENT_FLAGS
Restart=always
RestartSec=2s
OOMScoreAdjust=-999
MemoryMin=16M
MemoryMax=80M
StateDirectory=oomwitness/agent
StateDirectoryMode=0700
RuntimeDirectory=oomwitness
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
CapabilityBoundingSet=CAP_BPF
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service bpf
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`, unitMarker, UnitName, UnitName, o.beside(), AgentEnvironment, execWord(o.commandPath()), o.agentAddress())
}

// agentAddress returns the agent's flag for containerd's socket, "" for the default.
func (o Options) agentAddress() string {
	switch o.Address {
	case containerd.DefaultAddress:
		return ""
	case "":
		return ` --address ""` // no containerd: names come from cgroups alone
	}
	return " --address " + execWord(o.Address)
}

// installAgent installs this command, and the units of the ledger and of the agent.
func (o Options) installAgent(ctx context.Context, result *Result) error {
	o, err := o.Locate(ctx)
	if err != nil && o.daemon.PID == 0 && o.daemon.Program.Path == "" && !o.Root.Exists(o.MainConfig) {
		result.note("no containerd was found: the agent takes names from cgroups alone; for names of pods put --kubernetes=true "+
			"--kubeconfig FILE into OOMWITNESS_AGENT_FLAGS of %s", AgentEnvironment)
		o.Address = ""
	}
	o.Agent = true
	wanted, err := o.wantsUnit()
	if err := errors.Join(err, o.checkPaths(), o.checkBinDir()); err != nil {
		return err
	}
	if !wanted {
		return fmt.Errorf("--agent-only with --systemd-unit %s: the agent is started by systemd, which is not the init system here "+
			"or is to have no unit; --systemd-unit true writes the units all the same", o.SystemdUnit)
	}
	command, units, err := o.planLoader()
	if err != nil {
		return err
	}
	return o.installLoader(result, command, units)
}
