package cli

import (
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

const installHelp = `Put the shim and its containerd registration in place.

Files are written atomically, and what fails on the way is undone. The shim and, for
containerd 2.x, its registration:

  BIN-DIR/` + criconf.ShimName + `
      the shim
  CONF-DIR/` + criconf.DropinName + `
      its registration, a containerd drop-in

and where systemd is the init system (--systemd-unit), so that the ledger is there
before the first container:

  BIN-DIR/` + install.CommandName + `
      this command
  /etc/systemd/system/` + install.UnitName + `
      a unit that runs "oomwitness load" at boot
  /etc/systemd/system/multi-user.target.wants/` + install.UnitName + `
      the link that enables it

With --agent also a unit that runs "oomwitness agent", for a node without
Kubernetes, confined to what the agent needs; where there is Kubernetes the Helm
chart runs it. The agent takes more flags from OOMWITNESS_AGENT_FLAGS in
` + install.AgentEnvironment + `, which is yours:

  /etc/systemd/system/` + install.AgentUnitName + `
  /etc/systemd/system/multi-user.target.wants/` + install.AgentUnitName + `

With --agent-only the command and both units are all: no shim, no registration, no
restart. That works with any container runtime.

The node's containerd is found by its process: the program, --config, --address, PATH
and systemd unit are those of the process. Where several containerds run, the one that
kubelet uses is meant, else the one with CRI enabled; --address names another. A
process counts if it is root's and in the node's own namespaces. Where no containerd
runs, as in an image (--root), files and flags say the same.

The registration adds one runtime handler beside those that are there. It takes
over the plain settings of the node's own runc handler, so that a pod that uses it
differs in nothing but the shim. What is written is what the node's containerd can
read. Served is containerd ` + containerd.Served + `:

  2.x  a drop-in, in the version of the main configuration file, in a folder that
       this file imports. Where it imports none, install says which line to add
  1.x  a block at the end of the file that has CRI's settings, since a drop-in
       would take away every other CRI setting. Install prints the block
  older than 1.6: refused

A configuration that another program writes is never edited. k3s and RKE2: the folder
that their configuration imports, else their template. k0s: its folder containerd.d.
MicroK8s: its template.

With --edit-config install adds line or block itself, marked, and keeps the file as
it was beside it (.before-oomwitness); "oomwitness uninstall" takes out exactly what
was added. Without that flag a file of yours is read and never edited.

Afterwards "containerd config dump" must show the handler, and everything else as it
was before. If it does not, all files are put back and the difference is printed. A
drop-in that containerd 2.x does not import yet changes nothing: it stays, and a note
says what to add. On 1.x, where nothing is written without a leave, that is an error.

` + dockerHelp + `

Running it again changes nothing and says "unchanged". Running containers keep
the shim that they were started with. containerd reads its configuration when it
starts: restart it, or use --restart-containerd, which restarts the unit of the
containerd that was found. If containerd does not come back with the handler, the files
are put back and containerd is restarted once more.`

const installExample = `  oomwitness install --dry-run
  oomwitness install --restart-containerd
  oomwitness install --edit-config            # add to containerd's own file what it needs
  oomwitness install --agent-only             # ledger and agent, for any container runtime
  oomwitness install --docker --reload-docker
  oomwitness install --root /mnt/image        # for an image: paths in the files are as seen inside
  oomwitness install --root /mnt/arm --containerd-version 2.2
  oomwitness install --print nodeconfig       # for EKS: what the node's user data has to have`

const uninstallHelp = `Remove what install wrote: the drop-in or what --edit-config added, the shim, the
runtime in dockerd's daemon.json, the systemd units with this command if install put
them there, and nothing else. A file of yours that nobody has changed since is again
what it was, byte for byte. An agent that runs goes on
until it is stopped; its journal stays in ` + defaultStateDir + `. Use the same directories as for
install. Running it again is not an error.

The ledger stays in the kernel, where it harms nothing, until a reboot or
"oomwitness unload"; with --unload it goes too.

Afterwards "containerd config dump" must show everything but the handler as it was
before. If it does not, all files are put back and the difference is printed.

It refuses while containers still run under the shim: containerd needs the binary
to clean up after them. Delete their pods first. It also refuses to delete a
drop-in that install did not write, and lines that somebody added to what install
wrote. --force overrules all of this.`
