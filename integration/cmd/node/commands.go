//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/integration/guest/wire"
	"github.com/oomwitness/oomwitness/integration/node"
)

const rootHelp = `node runs commands in a throwaway virtual machine: QEMU, a Debian kernel,
containerd and runc. Nothing of the machine itself is changed, except that
root gets missing Debian packages installed.

Flavours:
  plain    busybox as init, cgroupfs driver; starts fast
  systemd  systemd as init, systemd driver possible
  kube     the same with a Kubernetes cluster of this node: etcd, API server,
           controller manager, scheduler and kubelet; systemd driver, or
           cgroupfs with --append node.driver=cgroupfs

Architectures: amd64, and arm64 by emulation, with flavours plain and systemd.

The machine has two CPUs and two NUMA nodes, each with half of the memory.

Kernels, by Debian package: 5.10, 6.1, 6.12, 7.

Environment (flags win):
  ARCH, FLAVOUR, KERNEL, MEMORY,    as the flags
  APPEND
  OOMWITNESS_ACCEL                  tcg, kvm or auto: hardware virtualisation
                                    only where a trial boot works
  OOMWITNESS_DEBIAN_MIRROR and      where Debian's packages are, for machines
  OOMWITNESS_DEBIAN_SECURITY_MIRROR whose own apt does not know`

const runHelp = `run boots a fresh guest, waits for containerd, or for the cluster to be ready
for pods, and runs the command as root.
Its output is streamed. In the guest:

  /opt/oomwitness        files given with --file; its bin is first on PATH,
                         also for containerd
  /usr/local/bin         containerd, ctr, containerd-shim-runc-v2, runc, and
                         node-containerd stop|start|restart
  /opt/workload-rootfs   a busybox root file system for containers
  /etc/containerd        config.toml; drop-ins in conf.d, also in
                         /opt/oomwitness/conf.d
  /run/containerd/containerd.sock, /var/log/containerd.log
  /etc/kubernetes        admin.conf is KUBECONFIG, with flavour kube
  /var/log/oomwitness    files to copy back, to the folder of --out

The exit status is the command's, 124 after the time limit, or 125 when the
node itself failed. After a failure the logs of the guest are kept and their
folder is printed.`

const runExample = `  node run -- ctr version
  node run -- ctr run --rm --rootfs /opt/workload-rootfs hi /bin/echo hi
  node run --file bin/containerd-shim-oomwitness-v2=bin/containerd-shim-oomwitness-v2 \
    -- ctr run --rm --runtime io.containerd.oomwitness.v2 --rootfs /opt/workload-rootfs hi /bin/echo hi
  FLAVOUR=systemd node run -- ctr run --rm --runc-systemd-cgroup \
    --cgroup system.slice:test:hi --rootfs /opt/workload-rootfs hi /bin/echo hi`

// statusError is an exit status whose error was printed already.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// execute runs the command line and returns the exit status.
func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var status statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	default:
		fmt.Fprintln(os.Stderr, "node:", err)
		return wire.StatusNode
	}
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use: "node", Short: "Run commands in a throwaway virtual machine with containerd", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
	}
	o.register(root)
	root.AddCommand(newPrepare(o), newRun(o), newShell(o), newClean(o),
		newPrograms(o, "cluster", "Build the programs of a cluster, for tests that need no guest, and print their folder", node.PrepareCluster),
		newPrograms(o, "tools", "Build containerd, ctr, the stock shim and runc, for tests that need no guest, and print their folder", node.PrepareTools),
		newPrograms(o, "debian-containerd", "Download Debian 12's containerd and print the folder of its programs", node.PrepareDebianContainerd),
		newPrograms(o, "debian-docker", "Download Debian 12's Docker with its containerd and print the folder in which they are unpacked", node.PrepareDebianDocker),
		newPrograms(o, "debian-supervisors", "Download Debian 12's supervisors and earlyoom, and print the folder in which they are unpacked", node.PrepareDebianSupervisors))
	return root
}

func newPrepare(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "prepare", Short: "Download and build what runs share", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := o.prepare(cmd.Context())
			return err
		},
	}
}

// newPrograms returns a command that builds some programs and prints their folder.
func newPrograms(o *options, use, short string, prepare func(context.Context, node.Config) (string, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := o.config()
			if err != nil {
				return err
			}
			dir, err := prepare(cmd.Context(), config)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), dir)
			return nil
		},
	}
}

func newRun(o *options) *cobra.Command {
	var (
		files, env []string
		run        = node.Run{Stdout: os.Stdout, Stderr: os.Stderr}
	)
	cmd := &cobra.Command{
		Use: "run [flags] -- COMMAND [ARG...]", Short: "Run a command in a fresh guest",
		Long: runHelp, Example: runExample, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run.Args, run.Env = args, env
			return runCommand(cmd.Context(), o, run, files)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringArrayVar(&files, "file", nil, "file or folder `HOST=GUEST`, guest path relative to /opt/oomwitness; repeatable")
	flags.StringArrayVar(&env, "env", nil, "environment `NAME=VALUE` of the command; repeatable")
	flags.StringVar(&run.Out, "out", "", "`folder` for the files of the guest's "+node.GuestOut)
	flags.BoolVar(&run.Reboots, "reboots", false, "let the guest reboot on the same disk, and run the command again with "+wire.BootEnv+"=2")
	flags.DurationVar(&run.Timeout, "timeout", node.DefaultTimeout, "time limit of the boot and the command, 0 for none")
	return cmd
}

func newShell(o *options) *cobra.Command {
	var (
		files []string
		shell node.Shell
	)
	cmd := &cobra.Command{
		Use: "shell", Short: "Open a root shell in a fresh guest", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if shell.Files, err = parseFiles(files); err != nil {
				return err
			}
			machine, err := o.prepare(cmd.Context())
			if err != nil {
				return err
			}
			return machine.Shell(cmd.Context(), shell)
		},
	}
	cmd.Flags().StringArrayVar(&files, "file", nil, "file or folder `HOST=GUEST`, guest path relative to /opt/oomwitness; repeatable")
	cmd.Flags().StringArrayVar(&shell.Env, "env", nil, "environment `NAME=VALUE` of the shell; repeatable")
	cmd.Flags().StringVar(&shell.First, "first", "", "`command` to run before the shell")
	return cmd
}

func newClean(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "clean", Short: "Remove the cache: downloads, builds and logs of failed runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := o.config()
			if err != nil {
				return err
			}
			return node.Clean(cmd.Context(), config.Cache, os.Stderr)
		},
	}
}

func runCommand(ctx context.Context, o *options, run node.Run, files []string) error {
	var err error
	if run.Files, err = parseFiles(files); err != nil {
		return err
	}
	machine, err := o.prepare(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	result, err := machine.Run(ctx, run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
	}
	if result.Kept != "" {
		fmt.Fprintln(os.Stderr, "node: logs are in", result.Kept)
	}
	fmt.Fprintf(os.Stderr, "node: status %d after %.1f s\n", result.Status, time.Since(began).Seconds())
	switch {
	case result.Status != 0:
		return statusError(result.Status)
	case err != nil:
		return statusError(wire.StatusNode)
	default:
		return nil
	}
}

func parseFiles(texts []string) ([]node.File, error) {
	var files []node.File
	for _, text := range texts {
		file, err := node.ParseFile(text)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// options are the flags that all commands share.
type options struct {
	arch, flavour, kernel, cache string
	memory                       int
	append                       string
}

func (o *options) register(root *cobra.Command) {
	memory, _ := strconv.Atoi(os.Getenv("MEMORY"))
	flags := root.PersistentFlags()
	flags.StringVar(&o.arch, "arch", env("ARCH", string(node.DefaultArch)), "`amd64` or arm64")
	flags.StringVar(&o.flavour, "flavour", env("FLAVOUR", string(node.DefaultFlavour)), "`plain`, systemd or kube")
	flags.StringVar(&o.kernel, "kernel", env("KERNEL", node.DefaultKernel), "`line` of kernels")
	flags.IntVar(&o.memory, "memory", memory, "memory of the guest, `MiB`; 0 for what the flavour needs")
	flags.StringVar(&o.append, "append", os.Getenv("APPEND"), "`words` for the end of the kernel's command line, such as cgroup.memory=nokmem")
	flags.StringVar(&o.cache, "cache", "", "`folder` of downloads, builds and logs (default .cache/node in the repository)")
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func (o *options) config() (node.Config, error) {
	dir, err := os.Getwd()
	if err != nil {
		return node.Config{}, fmt.Errorf("find repository: %w", err)
	}
	repo, err := node.FindRepo(dir)
	if err != nil {
		return node.Config{}, err
	}
	cache := o.cache
	if cache == "" {
		cache = node.DefaultCache(repo)
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return node.Config{}, fmt.Errorf("find cache: %w", err)
	}
	flavour := node.Flavour(o.flavour)
	memory := o.memory
	if memory == 0 {
		memory = flavour.DefaultMemory()
	}
	return node.Config{
		Repo: repo, Cache: cache, Arch: node.Arch(o.arch), Flavour: flavour, Kernel: o.kernel, Memory: memory,
		Append: strings.Fields(o.append), Accel: env("OOMWITNESS_ACCEL", node.AccelAuto), Progress: os.Stderr,
	}, nil
}

func (o *options) prepare(ctx context.Context) (*node.Machine, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	return node.Prepare(ctx, config)
}
