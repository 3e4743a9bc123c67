package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/why"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func newCheck(k kernel) *cobra.Command {
	checker := preflight.Checker{ConfigCheck: loads, Ledger: k.meta, Unprivileged: os.Geteuid() != 0}
	var output string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Show what this node can do, and what is missing",
		Long: `Show what this node can do, and what is missing. check changes and loads nothing.

Each row has a status:

  ok     nothing to do
  warn   works with less than everything, or is not installed yet
  fail   does not work; the exit status is 1

A row that is not ok has a line "->" with what to do. -o json prints the same as one
object. The fields and the names of the checks stay:

  {"schema": 1, "ok": false, "findings": [
    {"name": "runc", "status": "fail", "found": "...", "do": "..."}]}

Run check as root: other users cannot read every file. With --root, check reads another
tree, such as the host's tree as mounted in a container.`,
		Example: `  oomwitness check
  oomwitness check -o json | jq '.findings[] | select(.status != "ok")'
  oomwitness check --root /host`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(cmd, checker, output)
		},
	}
	outputFlag(cmd, &output)
	flags := cmd.Flags()
	flags.StringVar((*string)(&checker.Root), "root", "/", "look at the tree below this directory")
	flags.StringVar(&checker.ContainerdConfig, "containerd-config", "", "containerd's main configuration file (default: the file of the running containerd)")
	flags.StringVar(&checker.Address, "address", "", "socket of the containerd to check (default: of kubelet's containerd)")
	flags.StringVar(&checker.ContainerdVersion, "containerd-version", "",
		"version of containerd, such as 1.7 for the newest 1.7 (default: the answer of containerd, else of its program)")
	flags.StringVar(&checker.BinDir, "bin-dir", install.DefaultBinDir, "directory of the shim, as given to install")
	flags.StringVar(&checker.ConfDir, "conf-dir", "", "directory of the drop-in, as given to install (default: a directory that the node's containerd reads)")
	flags.StringVar(&checker.Handler, "runtime-name", criconf.DefaultHandler, "name of the runtime handler, as given to install")
	flags.StringVar(&checker.DockerConfig, "docker-config", "",
		"dockerd's configuration file (default: the file of the running dockerd, else "+docker.DefaultConfig+")")
	flags.StringVar(&checker.DockerSocket, "docker-socket", docker.DefaultSocket, "socket of dockerd's API")
	flags.StringVar(&checker.LedgerDir, "dir", bpf.DefaultDir, "directory of the pinned ledger")
	return cmd
}

// loads returns the warnings of the shim's configuration file, and an error if the
// shim would refuse the file.
func loads(path string) (warnings []string, err error) {
	cfg, err := config.Load(path)
	return cfg.Warnings, err
}

// runCheck prints the report. If a check has failed, it returns an error with the names of the
// failed checks.
func runCheck(cmd *cobra.Command, checker preflight.Checker, output string) error {
	if err := why.Usage(errors.Join(checkOutput(output), checkPaths(checker))); err != nil {
		return err
	}
	checker.ConfigPath = os.Getenv(config.PathEnv)
	checker = located(cmd.Context(), checker)
	report := checker.Check(cmd.Context())
	write := report.WriteText
	if output == "json" {
		write = report.WriteJSON
	}
	if err := write(cmd.OutOrStdout()); err != nil {
		return err
	}
	if !report.OK {
		return fmt.Errorf("check failed: %s", strings.Join(report.Failed(), ", "))
	}
	return nil
}

// located sets the containerd to check, and its files.
func located(ctx context.Context, c preflight.Checker) preflight.Checker {
	o, _ := install.Options{ // a part that is not found is a finding of its own
		Root: c.Root, Address: c.Address, MainConfig: c.ContainerdConfig, ConfDir: c.ConfDir,
		ContainerdVersion: c.ContainerdVersion, Force: true,
	}.Locate(ctx)
	return o.Checker(c)
}

// checkPaths refuses paths that could not be looked up below the root.
func checkPaths(c preflight.Checker) error {
	for flag, value := range map[string]string{
		"containerd-config": c.ContainerdConfig, "address": c.Address, "conf-dir": c.ConfDir, "docker-config": c.DockerConfig,
		config.PathEnv: os.Getenv(config.PathEnv),
	} {
		if value != "" && !path.IsAbs(value) {
			return absolute(flag, value)
		}
	}
	if err := absolute("bin-dir", c.BinDir, "docker-socket", c.DockerSocket, "dir", c.LedgerDir); err != nil {
		return err
	}
	if fi, err := os.Stat(c.Root.Path("/")); err != nil || !fi.IsDir() {
		return fmt.Errorf("--root %q: no such directory", c.Root)
	}
	if c.ContainerdVersion != "" {
		if _, err := containerd.ParseVersion(c.ContainerdVersion); err != nil {
			return fmt.Errorf("--containerd-version: %w", err)
		}
	}
	return criconf.CheckHandler(c.Handler)
}
