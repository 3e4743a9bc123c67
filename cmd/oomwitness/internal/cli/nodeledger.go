package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// newNodeLedger returns the command that the chart's DaemonSet runs on nodes without the shim.
// Its subcommands have the names of the other pods' actions: "oomwitness cluster remove" works
// for both.
func newNodeLedger(k kernel) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Load or unload the ledger for the agent alone",
		Long: `Load or unload the ledger for the agent alone. If the chart installs no shim, the pods of
the Helm chart's DaemonSet run these commands. The commands need neither containerd nor
Kubernetes, and change no file of the node.

Needed are CAP_BPF and CAP_PERFMON, before Linux 5.11 also CAP_SYS_RESOURCE, and the node's
/sys/fs/bpf and /run/oomwitness.`,
	}
	cmd.AddCommand(
		ledgerAction("setup", "Load the ledger, or keep a loaded ledger", k.loaded),
		ledgerAction("remove", "Remove the ledger from the kernel", func() (string, error) { return k.unloaded(defaultPins()) }),
	)
	return cmd
}

func ledgerAction(name, short string, do func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: whycli.NoArgs,
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
