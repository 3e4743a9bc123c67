// Package cli is the command line of oomwitness: flags, help and output.
// What the commands do is in the packages preflight, install and trace, and in bpf.
package cli

import (
	"fmt"
	"io"
	"net"
	"path"
	"strconv"

	"github.com/spf13/cobra"

	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// New makes the command tree with its outputs. Errors are returned from Execute and printed by
// the caller, once. An error of stdout is the caller's, too.
func New(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "oomwitness",
		Short: "Report OOM kills of containers reliably",
		Long: `If the kernel's OOM killer ends a container, containerd reports OOMKilled: always, at
first sight, and only then.

On a new node:

  oomwitness check                    show what this node can do, and what is missing
  oomwitness install --edit-config --restart-containerd
                                      install the shim, and register it with containerd
  oomwitness load                     load the ledger, the record of OOM kills
  oomwitness check                    check again: no row is "fail" now
  oomwitness trace                    show OOM kills, past and live
  oomwitness why POD                  show why a container has ended
  oomwitness agent                    report OOM kills to log, metrics and Kubernetes

Pods use the shim through a RuntimeClass with the handler "oomwitness".

Exit status of all commands:

  0  success
  1  a failure, such as a check that found something missing
  2  a wrong command line
  3  why: nothing is known of such a container
  5  why: the container was OOM-killed`,
		Version:       thisBuild().Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	k := realKernel()
	root.AddCommand(newCheck(k), newLoad(k), newUnload(k), newTrace(), newWhy(), newAgent(), newInstall(), newUninstall(k), newNode(k), newCluster(), newVersion())
	whycli.MarkUsage(root)
	return root
}

// absolute refuses paths that depend on where the command was started: pairs of
// a flag and its value.
func absolute(flags ...string) error {
	for i := 0; i < len(flags); i += 2 {
		if !path.IsAbs(flags[i+1]) {
			return fmt.Errorf("--%s %q: has to be an absolute path", flags[i], flags[i+1])
		}
	}
	return nil
}

// hostPort refuses an address of a flag that is not a host, which may be empty, and a port.
func hostPort(flag, value, example string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%s %q: has to be host:port, such as %s", flag, value, example)
	}
	return nil
}

// outputFlag adds -o.
func outputFlag(cmd *cobra.Command, value *string) {
	cmd.Flags().StringVarP(value, "output", "o", "text", "output format: text or json")
	whycli.CompleteOneOf(cmd, "output", []string{"text", "json"})
}

// checkOutput refuses an unknown output format.
func checkOutput(value string) error {
	if value != "text" && value != "json" {
		return fmt.Errorf("--output %q: allowed are text and json", value)
	}
	return nil
}
