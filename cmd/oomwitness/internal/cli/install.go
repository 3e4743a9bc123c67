package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/why"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func newInstall() *cobra.Command {
	var (
		o     install.Options
		print string
	)
	cmd := &cobra.Command{
		Use:     "install",
		Short:   "Put the shim and its containerd registration in place",
		Long:    installHelp,
		Example: installExample,
		Args:    whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := why.Usage(checkInstall(cmd, o)); err != nil {
				return err
			}
			if print != "" {
				return printSnippet(cmd, o, print)
			}
			if err := writable(o); err != nil {
				return err
			}
			run := install.Install
			if o.Docker.Wanted {
				run = install.InstallDocker
			}
			result, err := run(cmd.Context(), o)
			if result.HasUnit() && o.Root.Running() && !o.DryRun && err == nil {
				result.Notes = append(result.Notes, unitNotes(o)...)
			}
			return report(cmd, result, o.DryRun, err)
		},
	}
	placeFlags(cmd, &o)
	installFlags(cmd, &o)
	registrationFlags(cmd, &o)
	dockerFlags(cmd, &o.Docker, "register the shim with Docker, and not with containerd's CRI plugin")
	flags := cmd.Flags()
	flags.BoolVar(&o.Docker.Default, "docker-default", false, "make the shim Docker's default runtime")
	flags.StringVar(&print, "print", "", "print the registration and write nothing: toml, nodeconfig for EKS, or cloud-init")
	whycli.CompleteOneOf(cmd, "print", []string{"toml", "nodeconfig", "cloud-init"})
	for _, other := range []string{"docker", "print"} {
		cmd.MarkFlagsMutuallyExclusive("agent-only", other)
	}
	cmd.MarkFlagsMutuallyExclusive("docker", "print")
	return cmd
}

// checkInstall refuses paths that are not absolute, and flags that need another flag.
func checkInstall(cmd *cobra.Command, o install.Options) error {
	if err := errors.Join(criconf.CheckHandler(o.Handler), absolute("root", string(o.Root), "bin-dir", o.BinDir)); err != nil {
		return err
	}
	if err := folders(o); err != nil {
		return err
	}
	if flag := cmd.Flags().Lookup("print"); flag != nil && flag.Changed && flag.Value.String() == "" {
		return fmt.Errorf("--print %q: allowed are toml, nodeconfig and cloud-init", "")
	}
	if err := errors.Join(values(cmd, o)...); err != nil {
		return err
	}
	for flag, value := range map[string]string{"conf-dir": o.ConfDir, "containerd-config": o.MainConfig, "address": o.Address} {
		if value != "" {
			if err := absolute(flag, value); err != nil {
				return err
			}
		}
	}
	return checkDocker(cmd, o.Docker)
}

// configVersions and autoOrBool are what flags of install allow.
var (
	configVersions = []string{"auto", "2", "3"}
	autoOrBool     = []string{"auto", "true", "false"}
)

// values returns what is wrong with flags whose values no node allows.
func values(cmd *cobra.Command, o install.Options) (errs []error) {
	if o.ContainerdVersion != "" {
		if _, err := containerd.ParseVersion(o.ContainerdVersion); err != nil {
			errs = append(errs, fmt.Errorf("--containerd-version: %w", err))
		}
	}
	for _, one := range []struct {
		flag, value string
		allowed     []string
	}{
		{"config-version", o.ConfigVersion, configVersions},
		{"systemd-cgroup", o.SystemdCgroup, autoOrBool},
		{"systemd-unit", o.SystemdUnit, autoOrBool},
	} {
		if cmd.Flags().Lookup(one.flag) != nil {
			errs = append(errs, whycli.OneOf(one.flag, one.value, one.allowed...))
		}
	}
	return errs
}

// folders returns an error for a root or a folder of the shim that is no folder.
func folders(o install.Options) error {
	if _, err := os.ReadDir(o.Root.Path("/")); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("--root: %w", err)
	}
	if fi, err := os.Stat(o.Root.Path(o.BinDir)); err == nil && !fi.IsDir() {
		return fmt.Errorf("--bin-dir %q: is no directory", o.BinDir)
	}
	return nil
}

// unitNotes returns notes on what systemd has still to do.
func unitNotes(o install.Options) []string {
	var out []string
	if o.Agent || o.AgentOnly {
		out = append(out, "the agent starts at the next boot; for now: systemctl daemon-reload && systemctl start "+install.AgentUnitName)
	}
	when := "at the next boot, or when the shim first starts a container"
	if o.AgentOnly {
		when = "at the next boot"
	}
	return append(out, "the ledger is loaded "+when+"; for now: oomwitness load")
}

// installFlags adds the flags of install alone.
func installFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.ConfigVersion, "config-version", "auto",
		"version of the drop-in: 2, 3, or auto: as the main configuration, else 3")
	flags.StringVar(&o.SystemdCgroup, "systemd-cgroup", "auto",
		"runc's cgroup driver is systemd: true, false, or auto: as the runc handler, else if systemd is PID 1")
	flags.StringVar(&o.SystemdUnit, "systemd-unit", "auto",
		"load the ledger at boot by a systemd unit: true, false, or auto: if systemd is PID 1")
	flags.BoolVar(&o.Agent, "agent", false, "run the agent by a systemd unit, on a node without Kubernetes")
	flags.BoolVar(&o.AgentOnly, "agent-only", false, "the ledger and the agent alone, for any container runtime: no shim, no registration, no restart")
	whycli.CompleteOneOf(cmd, "config-version", configVersions)
	whycli.CompleteOneOf(cmd, "systemd-cgroup", autoOrBool)
	whycli.CompleteOneOf(cmd, "systemd-unit", autoOrBool)
	flags.StringVar(&o.Shim, "shim", "", "shim binary to copy (default: "+criconf.ShimName+" beside this command)")
	flags.BoolVar(&o.Force, "force", false, "overwrite a drop-in of others, an altered block, or a dockerd runtime of the same name. "+
		"Go on if --containerd-version contradicts the node, or with --docker if dockerd's version is unknown")
}

// printSnippet prints the registration, for people who make a node's files themselves.
func printSnippet(cmd *cobra.Command, o install.Options, what string) error {
	text, err := install.Snippet(cmd.Context(), o, what)
	if errors.Is(err, fs.ErrPermission) {
		return asRoot(err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}

func newUninstall(k kernel) *cobra.Command {
	var (
		o      install.Options
		unload bool
	)
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the files of install",
		Long:  uninstallHelp,
		Example: `  oomwitness uninstall --dry-run
  oomwitness uninstall --restart-containerd`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkInstall(cmd, o); err != nil {
				return err
			}
			if unload && !o.Root.Running() {
				return fmt.Errorf("--unload cannot be used with --root %s: the kernel that runs here is not that tree's", o.Root)
			}
			if err := writable(o); err != nil {
				return err
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
		"remove also with running shims, files of others, or changes of other settings of containerd")
	cmd.Flags().BoolVar(&unload, "unload", false, "remove the ledger from the kernel as well")
	dockerFlags(cmd, &o.Docker, "remove the registration with Docker alone, and the shim unless the drop-in is there")
	return cmd
}

// afterUninstall removes the ledger if asked; otherwise it notes that the ledger stays. In a
// dry run it only adds the note.
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
		if stays := k.stays(p.dir); stays != "" {
			result.Notes = append(result.Notes, stays)
		}
	default:
		result.Notes = append(result.Notes,
			"the ledger stays loaded until oomwitness unload or a reboot; uninstall --unload removes it too")
	}
	return nil
}

// registrationFlags adds the flags of install and node setup that decide what containerd reads.
func registrationFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.BoolVar(&o.EditConfig, "edit-config", false,
		"add the handler to containerd's main configuration file, marked and with a backup")
	daemonFlags(cmd, o)
}

// daemonFlags adds the flags that choose the containerd to register with.
func daemonFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.Address, "address", "", "socket of the containerd to use (default: of kubelet's containerd)")
	flags.StringVar(&o.ContainerdVersion, "containerd-version", "",
		"version of containerd, such as 1.7 for the newest 1.7 (default: the answer of containerd, else of its program)")
}

// fileFlags adds the flags that name the files and the unit of the node's containerd.
func fileFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.ConfDir, "conf-dir", "", "directory of the drop-in (default: a directory that the node's containerd reads)")
	flags.StringVar(&o.MainConfig, "containerd-config", "", "containerd's main configuration file (default: the file of the running containerd)")
	flags.StringVar(&o.Unit, "containerd-unit", "", "containerd's systemd unit (default: the unit of the running containerd)")
}

// placeFlags adds the flags that install and uninstall share.
func placeFlags(cmd *cobra.Command, o *install.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.BinDir, "bin-dir", install.DefaultBinDir, "directory of the shim")
	fileFlags(cmd, o)
	flags.StringVar(&o.Handler, "runtime-name", criconf.DefaultHandler, "name of the runtime handler, for RuntimeClass or docker run --runtime")
	flags.StringVar((*string)(&o.Root), "root", "/", "work in the tree below this directory, for image builders")
	flags.BoolVar(&o.Restart, "restart-containerd", false, "restart containerd's systemd unit afterwards, whether or not a file changed")
	flags.BoolVar(&o.DryRun, "dry-run", false, "show the steps, and write nothing")
}

// report prints what was done, also ahead of an error.
func report(cmd *cobra.Command, result install.Result, dryRun bool, err error) error {
	suffix := ""
	if dryRun {
		suffix = " (dry run)"
	}
	out := cmd.OutOrStdout()
	for _, action := range result.Actions {
		fmt.Fprintf(out, "%-9s %s%s\n", action.Verb, action.Path, suffix)
	}
	for _, note := range result.Notes {
		fmt.Fprintf(out, "note: %s\n", note)
	}
	return err
}
