package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/apiserver"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/systemd"
	"github.com/oomwitness/oomwitness/shim/config"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func newNode(k kernel) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Set up this node of a cluster, or remove the setup",
		Long: `Set up this node of a Kubernetes cluster, or remove the setup. The pods of the Helm chart's
DaemonSet run these commands. setup is their init step, and then stay does nothing. When
the chart is uninstalled, the pods run remove.

On a node without the chart, as root:

  oomwitness node setup --host / --node NAME --kubeconfig FILE`,
	}
	cmd.AddCommand(newNodeSetup(k), newNodeRemove(k), newNodeLedger(k), newNodeStay())
	return cmd
}

// nodeFlags are the flags that setup and remove share.
type nodeFlags struct {
	access
	name, host, label, restart, settings string
	startupTaint                         string

	// Flags of setup alone. remove accepts and ignores them: the pods that remove have the
	// arguments of the pods that set up.
	outcome outcome
	turn    turnFlags
	leases  cluster.Leases

	patience time.Duration
	unload   bool
	install  install.Options
}

func (f *nodeFlags) add(cmd *cobra.Command) {
	f.access.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.name, "node", os.Getenv("NODE_NAME"), "name of this Node (default: $NODE_NAME)")
	flags.StringVar(&f.host, "host", "/host", "where the host's root is mounted; / if this is the host")
	flags.StringVar(&f.label, "label", node.DefaultLabel, "label of the nodes that carry the shim; its value is \"true\"")
	flags.StringVar(&f.startupTaint, "startup-taint", "",
		"setup: key of a taint that the node has until the shim is there, and that is removed then; empty for none")
	flags.StringVar(&f.restart, "restart", "systemd",
		"how containerd is restarted: systemd, or none to wait for a restart")
	f.outcome.add(flags)
	f.turn.add(flags)
	registrationFlags(cmd, &f.install)
	whycli.DurationVar(flags, &f.patience, "timeout", 5*time.Minute, "how long each wait may take: for containerd to be restarted, for shims to end")
	flags.StringVar(&f.install.BinDir, "bin-dir", install.DefaultBinDir, "directory of the shim on the host")
	fileFlags(cmd, &f.install)
	flags.StringVar(&f.install.Handler, "runtime-name", criconf.DefaultHandler, "name of the runtime handler, for RuntimeClass")
	flags.StringVar(&f.install.SystemdCgroup, "systemd-cgroup", "auto",
		"runc's cgroup driver is systemd: true, false, or auto: as the runc handler, else if systemd is PID 1")
	flags.StringVar(&f.settings, "settings", "", "setup: file with the shim's settings, for all nodes alike; "+install.SettingsPath+" on the host")
	flags.BoolVar(&f.unload, "unload", true, "remove: unload the ledger as well")
	whycli.CompleteOneOf(cmd, "restart", []string{"systemd", "none"})
	whycli.CompleteOneOf(cmd, "unsupported", []string{"fail", "leave"})
	whycli.CompleteOneOf(cmd, "systemd-cgroup", autoOrBool)
}

func (f *nodeFlags) check() error {
	switch {
	case f.name == "":
		return errors.New(`--node "": give the name of this node as kubectl get nodes shows it, or set NODE_NAME`)
	case f.restart != "systemd" && f.restart != "none":
		return fmt.Errorf("--restart %q: allowed are systemd and none", f.restart)
	case f.patience <= 0:
		return fmt.Errorf("--timeout %s: has to be more than nothing", f.patience)
	}
	if err := checkName("node", f.name); err != nil {
		return err
	}
	if f.install.Address != "" {
		if err := absolute("address", f.install.Address); err != nil {
			return err
		}
	}
	return errors.Join(absolute("host", f.host), criconf.CheckHandler(f.install.Handler))
}

// node changes the root to the host's, and returns the node as seen from there. Files of this
// process's own tree are read before. If strict is true, and no containerd of the node can be
// registered with, it also returns an error, as node.Unsupported does.
func (f *nodeFlags) node(cmd *cobra.Command, k kernel, strict bool) (*node.Node, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := f.readSettings(); err != nil {
		return nil, err
	}
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	f.leases = client
	binaries, err := node.Enter(f.host, "")
	if err != nil {
		return nil, err
	}
	f.install.ConfigVersion, f.install.SystemdUnit = "auto", "auto"
	f.install.Shim, f.install.Command, f.install.Root = binaries.Shim, binaries.Command, "/"
	var unsupported error
	if f.install, err = f.install.Locate(cmd.Context()); err != nil && strict {
		unsupported = node.Unsupported(err)
	}
	for _, line := range f.install.Which() {
		fmt.Fprintf(cmd.OutOrStdout(), "note: %s\n", line)
	}
	checker := f.install.Checker(preflight.Checker{
		Root: "/", BinDir: f.install.BinDir, Handler: f.install.Handler, LedgerDir: bpf.DefaultDir, ConfigCheck: loads, Ledger: k.meta,
	})
	n := &node.Node{
		Install: f.install, Check: checker.Check, Patience: f.patience,
		// A restarted containerd is another process, which has to be found again.
		Stale:    func() preflight.Finding { return located(cmd.Context(), checker).Restart() },
		Handlers: func(ctx context.Context) ([]string, error) { return containerd.Handlers(ctx, f.install.Address) },
		Load:     func() (string, error) { return k.loaded() },
		Mark:     f.mark(client),
		Say:      func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) },
	}
	if f.restart == "systemd" {
		n.Systemd = systemd.Host{}
	}
	if f.unload {
		n.Unload = func() (string, error) { return k.unloaded(defaultPins()) }
	}
	return n, unsupported
}

// mark returns a function that labels the node, and removes the startup taint.
func (f *nodeFlags) mark(client *apiserver.Client) func(context.Context, bool) error {
	return func(ctx context.Context, carries bool) error {
		err := node.Label(ctx, client, f.name, f.label, carries)
		if err != nil || !carries || f.startupTaint == "" {
			return err
		}
		return cluster.Untaint(ctx, client, f.name, f.startupTaint)
	}
}

// readSettings refuses settings that the shim would refuse, then for every container.
func (f *nodeFlags) readSettings() error {
	text := []byte{}
	if f.settings != "" {
		var err error
		if text, err = os.ReadFile(f.settings); err != nil {
			return fmt.Errorf("--settings: %w", err)
		}
		if _, err := config.Parse(text); err != nil {
			return fmt.Errorf("--settings %s:%w", f.settings, err)
		}
	}
	f.install.Settings = new(string)
	*f.install.Settings = string(text)
	return nil
}

// loaded loads the ledger onto the host, and returns a text with the result.
func (k kernel) loaded() (string, error) {
	if !node.BPFMounted() {
		return "", errors.New("the BPF file system is not mounted on /sys/fs/bpf; the shim does that, and loads it with its first container")
	}
	st, err := k.load(bpf.Options{})
	if err != nil {
		return "", withAdvice(refused(st, err))
	}
	verb := map[bool]string{true: "loaded the ledger", false: "the ledger is loaded already"}[st.Loaded]
	return fmt.Sprintf("%s: tier %s", verb, cmp.Or(st.Tier.String(), "unknown")), nil
}

func newNodeSetup(k kernel) *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Install the shim on this node, load the ledger, label the node",
		Long: `Install the shim on this node, load the ledger, and label the node.

In this order, and each step only after the success of the earlier step:

  1. the checks of "oomwitness check"; after a failure setup writes nothing
  2. the steps of "oomwitness install": shim, registration with containerd (with
     --edit-config also in containerd's own file), systemd unit of the ledger; and the
     shim's settings, with --settings
  3. the checks again
  4. a restart of containerd, if it lacks the handler or is older than its files
     (--restart systemd); --restart none waits for a restart; running containers go on
  5. the ledger is loaded; without the ledger only the cgroups' counters are known
  6. the Node gets the label, loses the taint of --startup-taint, and pods of the
     RuntimeClass come

A second setup changes nothing. In a container the host's root must be at --host. setup
works there (chroot), with the host's own programs. setup needs:

  CAP_SYS_CHROOT          chroot(2) to the host's root
  CAP_SYS_PTRACE          readlink(2) of /proc/PID/exe of the host's processes, when the
                          shim is removed; reads of /proc/PID/environ
  CAP_BPF, CAP_PERFMON    bpf(2), for the ledger
  CAP_SYS_RESOURCE        prlimit(2) for it before Linux 5.11

setup runs as root, because root owns the files. setup needs no privileged container and no
namespace of the host. Of Kubernetes setup needs "patch" on nodes, with --startup-taint
"get" too, and with --at-once "get" and "update" on the Leases of the turns.`,
		Example: `  oomwitness node setup --node worker-1
  oomwitness node setup --host / --node worker-1 --kubeconfig /etc/kubernetes/admin.conf`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.setUp(cmd, k) },
	}
	f.add(cmd)
	return cmd
}

func (f *nodeFlags) setUp(cmd *cobra.Command, k kernel) error {
	if err := errors.Join(f.turn.check(), f.outcome.open()); err != nil {
		return err
	}
	n, err := f.node(cmd, k, true)
	if n == nil {
		return err
	}
	if err == nil {
		err = f.turn.setUp(cmd, f.leases, f.name, n)
	}
	return f.outcome.of(cmd, n, err)
}

func newNodeRemove(k kernel) *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Remove the node's label and the files of setup",
		Long: `Remove the node's label and the files of setup. Without the label no more pods of the
RuntimeClass come.

remove waits until no shim runs, because containerd needs the binary to clean up after the
shims. remove does not end the shims: "oomwitness cluster remove --drain" evicts their
pods. Then remove does the steps of "oomwitness uninstall". If containerd still has the
handler, remove restarts containerd. At the end remove unloads the ledger, unless
--unload=false.

remove has the flags of setup and needs the same rights. A second remove is no error.`,
		Example: `  oomwitness node remove --node worker-1 --timeout 10m
  oomwitness node remove --host / --node worker-1 --kubeconfig /etc/kubernetes/admin.conf`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := f.node(cmd, k, false)
			if err != nil {
				return err
			}
			return n.Remove(cmd.Context())
		},
	}
	f.add(cmd)
	return cmd
}

func newNodeStay() *cobra.Command {
	return &cobra.Command{
		Use:   "stay",
		Short: "Do nothing until SIGTERM: keeps a pod of the DaemonSet alive",
		Long: `Do nothing until SIGTERM or SIGINT. The pods of the DaemonSet run stay after setup, because a
pod of a DaemonSet must go on running. stay has no rights, and removes nothing at its end:
an upgrade of the chart ends stay as well.`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	}
}
