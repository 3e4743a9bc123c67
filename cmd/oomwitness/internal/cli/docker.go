package cli

import (
	"errors"
	"path"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/docker"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

const dockerHelp = `With --docker install registers the shim with Docker instead. install adds a runtime to
dockerd's daemon.json, and writes no drop-in.

  BIN-DIR/containerd-shim-oomwitness-v2
      the shim
  DOCKER-CONFIG
      the key runtimes gets one entry more; every other byte stays
  DOCKER-CONFIG.before-oomwitness
      the old file, for uninstall

dockerd checks the file (dockerd --validate) before install writes the file. Docker 24.0
and later accept the runtime. For an older Docker install prints what to do. dockerd reads
the file at a reload: use --reload-docker, or the command that install prints.`

// dockerFlags adds the flags that install and uninstall share.
func dockerFlags(cmd *cobra.Command, o *install.DockerOptions, wanted string) {
	flags := cmd.Flags()
	flags.BoolVar(&o.Wanted, "docker", false, wanted)
	flags.StringVar(&o.Config, "docker-config", "",
		"dockerd's configuration file (default: the file of the running dockerd, else "+docker.DefaultConfig+")")
	flags.StringVar(&o.Socket, "docker-socket", docker.DefaultSocket, "socket of dockerd's API")
	flags.BoolVar(&o.Reload, "reload-docker", false, "make dockerd read its configuration afterwards, by SIGHUP; running containers go on")
	for _, other := range []string{"conf-dir", "containerd-config", "config-version", "systemd-cgroup", "restart-containerd",
		"edit-config", "address", "containerd-version"} {
		if flags.Lookup(other) != nil {
			cmd.MarkFlagsMutuallyExclusive("docker", other)
		}
	}
}

// checkDocker refuses a path that is not absolute, and flags of install that need --docker.
func checkDocker(cmd *cobra.Command, o install.DockerOptions) error {
	for _, name := range []string{"docker-config", "docker-socket", "docker-default", "reload-docker"} {
		if flag := cmd.Flags().Lookup(name); flag != nil && flag.Changed && !o.Wanted && cmd.Name() == "install" {
			return errors.New("--" + name + ": has a meaning with --docker alone")
		}
	}
	if o.Config != "" && !path.IsAbs(o.Config) {
		return absolute("docker-config", o.Config)
	}
	return absolute("docker-socket", o.Socket)
}
