package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

func newInstall() *cobra.Command {
	var o install.Options
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Put the shim and its containerd registration in place",
		Long: `Put the shim and its containerd registration in place.

Files are written atomically. The shim and, for containerd 2.x, its registration:

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

The registration adds one runtime handler beside those that are there. It takes
over the plain settings of the node's own runc handler, so that a pod that uses it
differs in nothing but the shim. What is written is what the node's containerd can
read. Its version is asked at --address, or of its program; where neither can be
asked, name it with --containerd-version. Served is containerd ` + containerd.Served + `:

  2.x  a drop-in, in the version of the main configuration file. Where that file
       does not import CONF-DIR, install says which line to add
  1.x  a block at the end of the file that has CRI's settings, since a drop-in
       would take away every other CRI setting. Install prints the block
  older than 1.6: refused

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
starts: restart it, or use --restart-containerd.`,
		Example: `  oomwitness install --dry-run
  oomwitness install --restart-containerd
  oomwitness install --edit-config            # add to containerd's own file what it needs
  oomwitness install --docker --reload-docker
  oomwitness install --root /mnt/image        # for an image: paths in the files are as seen inside
  oomwitness install --root /mnt/arm --containerd-version 2.2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkDocker(cmd, o.Docker); err != nil {
				return err
			}
			run := install.Install
			if o.Docker.Wanted {
				run = install.InstallDocker
			}
			result, err := run(cmd.Context(), o)
			if result.HasUnit() && o.Root.Running() && !o.DryRun && err == nil {
				if o.Agent {
					result.Notes = append(result.Notes, "the agent starts at the next boot; for now: systemctl daemon-reload && systemctl start "+install.AgentUnitName)
				}
				result.Notes = append(result.Notes, "the ledger is loaded at the next boot, or when the shim first starts a container; for now: oomwitness load")
			}
			return report(cmd, result, o.DryRun, err)
		},
	}
	placeFlags(cmd, &o)
	flags := cmd.Flags()
	flags.StringVar(&o.ConfigVersion, "config-version", "auto",
		"version of the drop-in: 2, 3, or auto to go with the main configuration (3 where that leaves it open)")
	flags.StringVar(&o.SystemdCgroup, "systemd-cgroup", "auto",
		"runc's cgroup driver is systemd: true, false, or auto for what the runc handler says, else whether systemd is PID 1")
	flags.StringVar(&o.SystemdUnit, "systemd-unit", "auto",
		"load the ledger at boot by a systemd unit: true, false, or auto for where systemd is PID 1")
	registrationFlags(cmd, &o)
	flags.BoolVar(&o.Agent, "agent", false, "run the agent by a systemd unit, on a node without Kubernetes")
	flags.StringVar(&o.Shim, "shim", "", "shim binary to copy (default: "+criconf.ShimName+" beside this command)")
	flags.BoolVar(&o.Force, "force", false, "overwrite a drop-in that install did not write, an altered block, or a runtime of dockerd of the same name; with --docker go on where dockerd's version is unknown")
	dockerFlags(cmd, &o.Docker, "register the shim with Docker, and not with containerd's CRI plugin")
	flags.BoolVar(&o.Docker.Default, "docker-default", false, "make the shim Docker's default runtime")
	return cmd
}

func newUninstall(k kernel) *cobra.Command {
	var (
		o      install.Options
		unload bool
	)
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove what install wrote",
		Long: `Remove what install wrote: the drop-in or what --edit-config added, the shim, the
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
wrote. --force overrules all of this.`,
		Example: `  oomwitness uninstall --dry-run
  oomwitness uninstall --restart-containerd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkDocker(cmd, o.Docker); err != nil {
				return err
			}
			if unload && !o.Root.Running() {
				return fmt.Errorf("--unload cannot be used with --root %s: the kernel that runs here is not that tree's", o.Root)
			}
			result, err := install.Uninstall(cmd.Context(), o)
			if err == nil && o.Root.Running() {
				err = k.afterUninstall(&result, unload, o.DryRun)
			}
			return report(cmd, result, o.DryRun, err)
		},
	}
	placeFlags(cmd, &o)
	daemonFlags(cmd, &o)
	cmd.Flags().BoolVar(&o.Force, "force", false,
		"remove also with running shims, or what install did not write, or where other settings of containerd change")
	cmd.Flags().BoolVar(&unload, "unload", false, "remove the ledger from the kernel as well")
	dockerFlags(cmd, &o.Docker, "remove the registration with Docker alone, and the shim unless the drop-in is there")
	return cmd
}

// afterUninstall removes the ledger if asked, else says that it stays. In a dry
// run it only says so.
func (k kernel) afterUninstall(result *install.Result, unload, dryRun bool) error {
	p := pins{dir: bpf.DefaultDir, lockDir: bpf.DefaultLockDir}
	_, err := k.meta(p.dir)
	switch {
	case errors.Is(err, bpf.ErrAbsent):
		return nil
	case unload && dryRun:
		result.Actions = append(result.Actions, install.Action{Verb: "unload", Path: p.dir})
	case unload:
		if _, err := k.unloaded(p); err != nil {
			return err
		}
		result.Actions = append(result.Actions, install.Action{Verb: "unload", Path: p.dir})
	default:
		result.Notes = append(result.Notes,
			"the ledger stays loaded until oomwitness unload or a reboot; uninstall --unload removes it too")
	}
	return nil
}

// registrationFlags adds the flags that install and node setup share about what
// containerd reads.
func registrationFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.BoolVar(&o.EditConfig, "edit-config", false,
		"add to containerd's main configuration file what it needs to know the handler, marked and with a backup")
	daemonFlags(cmd, o)
}

// daemonFlags adds the flags that say which containerd reads the configuration.
func daemonFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.Address, "address", containerd.DefaultAddress, "containerd's socket")
	flags.StringVar(&o.ContainerdVersion, "containerd-version", "",
		"version of the containerd that will read the configuration, such as 1.7 for the newest 1.7 (default: what containerd answers, else its program)")
}

// placeFlags adds the flags that install and uninstall share.
func placeFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.BinDir, "bin-dir", install.DefaultBinDir, "directory of the shim")
	flags.StringVar(&o.ConfDir, "conf-dir", criconf.DefaultDropinDir, "directory of the drop-in")
	flags.StringVar(&o.MainConfig, "containerd-config", criconf.DefaultPath, "containerd's main configuration file")
	flags.StringVar(&o.Handler, "runtime-name", criconf.DefaultHandler, "name of the runtime handler, for RuntimeClass or docker run --runtime")
	flags.StringVar((*string)(&o.Root), "root", "/", "work in the tree below this directory, for image builders")
	flags.BoolVar(&o.Restart, "restart-containerd", false, "restart containerd with systemctl afterwards, whether or not a file changed")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and write nothing")
}

// report prints what was done, also ahead of an error.
func report(cmd *cobra.Command, result install.Result, dryRun bool, err error) error {
	suffix := ""
	if dryRun {
		suffix = " (dry run)"
	}
	out := sticky{w: cmd.OutOrStdout()}
	for _, action := range result.Actions {
		out.printf("%-9s %s%s\n", action.Verb, action.Path, suffix)
	}
	for _, note := range result.Notes {
		out.printf("note: %s\n", note)
	}
	if err != nil {
		return err
	}
	if out.err != nil {
		return fmt.Errorf("write output: %w", out.err)
	}
	return nil
}
