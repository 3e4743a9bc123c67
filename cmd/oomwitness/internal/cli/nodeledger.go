package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newNodeLedger is what the chart's DaemonSet runs on nodes without the shim. Its
// subcommands have the names of the actions of the other pods, so that "oomwitness
// cluster remove" takes either off.
func newNodeLedger(k kernel) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Load the ledger for the agent alone, or take it out again",
		Long: `Load the ledger for the agent alone, or take it out of the kernel again. The pods of
the Helm chart's DaemonSet run it where the chart installs no shim. It needs neither
containerd nor Kubernetes, and changes no file of the node.

It needs CAP_BPF and CAP_PERFMON, before Linux 5.11 also CAP_SYS_RESOURCE, and of the
node /sys/fs/bpf and /run/oomwitness.`,
	}
	cmd.AddCommand(
		ledgerAction("setup", "Load the ledger, or keep the one that is loaded", k.loaded),
		ledgerAction("remove", "Take the ledger out of the kernel", func() (string, error) { return k.unloaded(defaultPins()) }),
	)
	return cmd
}

func ledgerAction(name, short string, do func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := do()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
}
