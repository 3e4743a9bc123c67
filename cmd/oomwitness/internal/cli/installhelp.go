package cli

import (
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

const installHelp = `Put the shim and its containerd registration in place.

Files are written atomically. If a step fails, install undoes the earlier steps. The shim,
for containerd 2.x its registration, and the command that the shim runs to load the ledger:

  BIN-DIR/` + criconf.ShimName + `
      the shim
  CONF-DIR/` + criconf.DropinName + `
      the registration, a containerd drop-in
  BIN-DIR/` + install.CommandName + `
      this command
  BIN-DIR/` + install.CommandName + `.installed
      the checksum of the command, for uninstall

If systemd is the init system (--systemd-unit), a unit loads the ledger before the first
container:

  /etc/systemd/system/` + install.UnitName + `
      a unit that runs "oomwitness load" at boot
  /etc/systemd/system/multi-user.target.wants/` + install.UnitName + `
      the link that enables the unit

--agent is for a node without Kubernetes: with Kubernetes the Helm chart runs the agent.
--agent adds a unit that runs "oomwitness agent", confined to the needs of the agent. The
agent takes more flags from OOMWITNESS_AGENT_FLAGS in
` + install.AgentEnvironment + `, a file of yours:

  /etc/systemd/system/` + install.AgentUnitName + `
  /etc/systemd/system/multi-user.target.wants/` + install.AgentUnitName + `

--agent-only installs only the command and both units: no shim, no registration, no
restart. This works with any container runtime.

install finds the node's containerd by its process. The process gives the program,
--config, --address, PATH and the systemd unit. If several containerds run, install takes
kubelet's containerd, else the containerd with CRI enabled. --address names another. A
process counts if root owns the process, in the node's own namespaces. If no containerd
runs, as in an image (--root), files and flags give the same facts.

The registration adds one runtime handler to the handlers of the node. The handler has the
plain settings of the node's own runc handler. So a pod that uses the handler differs only
in the shim. install writes what the node's containerd can read. Served is containerd
` + containerd.Served + `:

  2.x  a drop-in in the version of the main configuration file, in a folder that the
       file imports. If the file imports none, install prints the line to add
  1.x  a block at the end of the file with CRI's settings. A drop-in would remove
       every other CRI setting. Install prints the block
  older than 1.6: refused

install never edits a configuration that another program writes. k3s and RKE2: the folder
of imports in their configuration, else their template. k0s: its folder containerd.d.
MicroK8s: its template.

With --edit-config install adds the line or the block, marked. The old file stays beside
the new file (.before-oomwitness), and "oomwitness uninstall" removes exactly the
addition. Without that flag install reads your files, and never edits them.

Afterwards "containerd config dump" must show the handler, and everything else as before.
If not, install puts all files back and prints the difference. If containerd 2.x does not
import the drop-in yet, the drop-in changes nothing: the drop-in stays, and a note says
what to add. On 1.x, without --edit-config, that is an error.

` + dockerHelp + `

A second install changes nothing and prints "unchanged". Running containers keep their
shim. containerd reads its configuration at the start: restart containerd, or use
--restart-containerd. If containerd does not come back with the handler, install puts the
files back and restarts containerd again.`

const installExample = `  oomwitness install --dry-run
  oomwitness install --restart-containerd
  oomwitness install --edit-config --restart-containerd # edit containerd's own file too
  oomwitness install --agent-only             # ledger and agent, for any container runtime
  oomwitness install --docker --reload-docker
  oomwitness install --root /mnt/image        # for an image: paths in the files are as seen inside
  oomwitness install --root /mnt/arm --containerd-version 2.2
  oomwitness install --print nodeconfig       # for EKS: what the node's user data has to have`

const uninstallHelp = `Remove the files of install and of the shims, and nothing else. The files of install are
the drop-in or the addition of --edit-config, the shim, the runtime in dockerd's
daemon.json, the systemd units and this command. A file of yours that nobody has changed
since is byte for byte as before. A command of yours that install replaced is there again.
A command that install did not write stays.

The verdicts that shims have left in /run/oomwitness/exits go with the shim.

A running agent goes on until somebody stops the agent. The journal stays in
` + defaultStateDir + `. Use the same directories as for install. A second uninstall is no
error.

The ledger stays in the kernel until a reboot or "oomwitness unload", and does no harm.
--unload removes the ledger too.

Afterwards "containerd config dump" must show everything but the handler as before. If
not, uninstall puts all files back and prints the difference.

uninstall refuses while containers run under the shim, because containerd needs the binary
to clean up after the containers. Delete their pods first. uninstall also refuses to
delete a drop-in of others, and lines that somebody added to the drop-in of install.
--force overrules all refusals.`
