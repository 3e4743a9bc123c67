package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/oomwitness/oomwitness/why/cli"
)

// checkConfig returns what is wrong with the flags that name the API server.
func (o *options) checkConfig() (errs []error) {
	if text := *o.config.Timeout; text != "" {
		timeout, err := cli.ParseDuration(text)
		if err != nil { // a number alone is of seconds
			timeout, err = clientcmd.ParseTimeout(text)
		}
		if err != nil || timeout < 0 {
			errs = append(errs, fmt.Errorf("--request-timeout %q: allowed is a duration, such as 10s or 2m, and 0 for none", text))
		}
		*o.config.Timeout = timeout.String()
	}
	errs = append(errs, o.checkServer()...)
	config, err := o.config.ToRawKubeConfigLoader().RawConfig() // reads the file once: a pipe has its text once
	switch file := *o.config.KubeConfig; {
	case err != nil && file != "":
		if _, failed := clientcmd.LoadFromFile(file); failed != nil {
			err = failed
		}
		return append(errs, fmt.Errorf("--kubeconfig %q: %w", file, cli.Unreadable(err, "kubeconfig")))
	case err != nil:
		return errs // connect says so
	}
	return append(errs, oneOfConfig("context", *o.config.Context, config.Contexts), oneOfConfig("cluster", *o.config.ClusterName, config.Clusters),
		oneOfConfig("user", *o.config.AuthInfoName, config.AuthInfos))
}

// proxySchemes are those that client-go takes.
var proxySchemes = []string{"http", "https", "socks5"}

// checkServer returns what is wrong with the flags that say how to reach the API server, and as
// whom.
func (o *options) checkServer() (errs []error) {
	if server := *o.config.APIServer; server != "" {
		address, _, err := rest.DefaultServerURL(server, "", schema.GroupVersion{}, true)
		if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" {
			errs = append(errs, fmt.Errorf("--server %q: allowed is an address of http or https, such as https://192.0.2.1:6443", server))
		}
	}
	if proxy := *o.config.ProxyURL; proxy != "" {
		if u, err := url.Parse(proxy); err != nil || u.Host == "" || !slices.Contains(proxySchemes, u.Scheme) {
			errs = append(errs, fmt.Errorf("--proxy-url %q: allowed is an address of %s, such as http://192.0.2.1:3128", proxy, strings.Join(proxySchemes, ", ")))
		}
	}
	for flag, file := range map[string]string{
		"certificate-authority": *o.config.CAFile, "client-certificate": *o.config.CertFile, "client-key": *o.config.KeyFile,
	} {
		if _, err := os.ReadFile(file); file != "" && err != nil {
			errs = append(errs, fmt.Errorf("--%s %q: %w", flag, file, cli.Unreadable(err, "")))
		}
	}
	if *o.config.Impersonate == "" && (*o.config.ImpersonateUID != "" || len(*o.config.ImpersonateGroup) > 0) {
		errs = append(errs, errors.New("--as-uid and --as-group: have a meaning with --as alone"))
	}
	return errs
}

// oneOfConfig returns an error if a flag names what the kubeconfig does not have.
func oneOfConfig[T any](flag, name string, known map[string]T) error {
	switch {
	case name == "":
		return nil
	case len(known) == 0:
		return fmt.Errorf("--%s %q: the kubeconfig has none", flag, name)
	}
	return cli.OneOf(flag, name, slices.Sorted(maps.Keys(known))...)
}

// Limits of the requests to the API server. One command asks the agent of each node, atOnce at the
// same time.
const (
	qps   = 200
	burst = 600
)

// connect makes the client.
func (o *options) connect() error {
	config, err := o.restConfig()
	if err != nil {
		return fmt.Errorf("the API server is not known: %w", err)
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.UserAgent = qps, burst, "kubectl-oomwitness"
	if o.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("the API server is not known: %w", err)
	}
	if o.allNamespaces {
		return nil
	}
	o.namespace, _, err = o.config.ToRawKubeConfigLoader().Namespace()
	return err
}

// restConfig returns the configuration of the client. Without a kubeconfig client-go falls
// back on the pod's own cluster, and then on clientcmd.ClusterDefaults, which is
// http://localhost:8080 and hardly ever an API server.
func (o *options) restConfig() (*rest.Config, error) {
	loader := o.config.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, badFile(loader, err)
	}
	config, err := o.config.ToRESTConfig()
	if err != nil || *o.config.APIServer != "" || os.Getenv(serverEnv) != "" || config.Host != clientcmd.ClusterDefaults.Server {
		return config, err
	}
	return config, noServer(loader, &raw, *o.config.Context)
}

// serverEnv is the variable that clientcmd.ClusterDefaults reads.
const serverEnv = "KUBERNETES_MASTER"

// files returns the files that a kubeconfig is read from.
func files(loader clientcmd.ClientConfig) []string {
	if file := loader.ConfigAccess().GetExplicitFile(); file != "" {
		return []string{file}
	}
	return loader.ConfigAccess().GetLoadingPrecedence()
}

// badFile returns an error that names the file of a kubeconfig that cannot be read. err is the
// error of all files together, which hides the reason.
func badFile(loader clientcmd.ClientConfig, err error) error {
	for _, file := range files(loader) {
		if _, failed := clientcmd.LoadFromFile(file); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			return fmt.Errorf("the kubeconfig %s: %w", file, cli.Unreadable(failed, "kubeconfig"))
		}
	}
	return err
}

// noServer returns why a kubeconfig names no API server, nil if it does.
func noServer(loader clientcmd.ClientConfig, raw *clientcmdapi.Config, name string) error {
	if name == "" {
		name = raw.CurrentContext
	}
	const set = "set KUBECONFIG or --kubeconfig to a file, or --server to the API server's address"
	from := strings.Join(files(loader), ", ")
	context := raw.Contexts[name]
	switch {
	case len(raw.Contexts) == 0 && len(raw.Clusters) == 0:
		return fmt.Errorf("there is no kubeconfig at %s: %s", from, set)
	case context == nil && len(raw.Contexts) > 0:
		return fmt.Errorf("the kubeconfig %s has no current context: --context with one of %s", from, strings.Join(slices.Sorted(maps.Keys(raw.Contexts)), ", "))
	case context == nil || raw.Clusters[context.Cluster] == nil || raw.Clusters[context.Cluster].Server == "":
		return fmt.Errorf("the kubeconfig %s has no API server for its context %q: %s", from, name, set)
	}
	return nil
}
