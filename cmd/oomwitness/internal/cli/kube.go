package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/apiserver"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// access is how the API server is reached.
type access struct{ kubeconfig string }

func (a *access) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig file (default: as a pod of the cluster)")
}

// checkKubeconfig refuses a file that is no kubeconfig.
func checkKubeconfig(file string) error {
	if file == "" {
		return nil
	}
	_, err := readKubeconfig(file)
	return err
}

// readKubeconfig reads a file once: a pipe has its text once.
func readKubeconfig(file string) (clientcmd.ClientConfig, error) {
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %q: %w", file, whycli.Unreadable(err, "kubeconfig"))
	}
	if err := clientcmd.ResolveLocalPaths(config); err != nil {
		return nil, fmt.Errorf("--kubeconfig %q: %w", file, err)
	}
	return clientcmd.NewDefaultClientConfig(*config, nil), nil
}

// checkName refuses what no object of Kubernetes has as its name.
func checkName(flag, value string) error {
	if len(validation.IsDNS1123Subdomain(value)) > 0 {
		return fmt.Errorf("--%s %q: allowed are lower-case letters, digits, - and ., at most 253", flag, value)
	}
	return nil
}

// client reads all that it needs from files now, so that it works below another
// root as well. Its token is not read again: it is for commands that end.
func (a *access) client() (*apiserver.Client, error) {
	load := rest.InClusterConfig
	if a.kubeconfig != "" {
		file, err := readKubeconfig(a.kubeconfig)
		if err != nil {
			return nil, err
		}
		load = file.ClientConfig
	}
	config, err := load()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("--kubeconfig is not given, and this is no pod of a cluster: name a file, such as --kubeconfig ~/.kube/config")
	}
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("--kubeconfig %q: names no API server", a.kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	config.CAFile, config.CertFile, config.KeyFile, config.BearerTokenFile = "", "", "", ""
	config.UserAgent = "oomwitness"
	return apiserver.Connect(config)
}
