package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/oomwitness/oomwitness/agent"
)

const (
	defaultKubeletConfig = "/var/lib/kubelet/config.yaml"
	// podUIDEnv has the UID of this process's pod, by the downward API.
	podUIDEnv = "POD_UID"
)

// kubeletFlags say how kubelet's --cgroup-root is found, for the commands that name pods.
type kubeletFlags struct {
	roots  []string
	config string
}

func (f *kubeletFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.roots, "kubelet-cgroup-root", nil,
		fmt.Sprintf("kubelet's --cgroup-root (cgroupRoot), below which kubepods is; more than one separated by commas "+
			"(default: the root of pod $%s, else of --kubelet-config, else %s)", podUIDEnv, strings.Join(agent.DefaultKubeletRoots(), ",")))
	flags.StringVar(&f.config, "kubelet-config", defaultKubeletConfig, "kubelet's configuration file, for its cgroupRoot, if it is there; empty to do without")
}

func (f *kubeletFlags) check() error {
	errs := []error{flagError("kubelet-cgroup-root", agent.CheckKubeletRoots(f.roots))}
	if f.config != "" {
		errs = append(errs, absolute("kubelet-config", f.config))
	}
	return errors.Join(errs...)
}

func (f *kubeletFlags) options() agent.KubeletOptions {
	return agent.KubeletOptions{Roots: f.roots, Config: f.config, PodUID: os.Getenv(podUIDEnv)}
}
