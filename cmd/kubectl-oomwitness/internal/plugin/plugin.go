// Package plugin is the command line of the kubectl plugin. It asks the agent on the node
// of a pod through the API server, and shows what the agent answers.
package plugin

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli"
)

// options are those of all commands.
type options struct {
	genericiooptions.IOStreams
	config *genericclioptions.ConfigFlags

	output         string
	allNamespaces  bool
	agentSelector  string
	agentNamespace string

	// Set by complete.
	client    kubernetes.Interface
	namespace string // "" for all

	documents int // of YAML that were written
}

// defaultSelector selects the agents' pods, as the Helm chart labels them.
const defaultSelector = "app.kubernetes.io/name=oomwitness,app.kubernetes.io/component=agent"

var formats = []string{"text", "wide", "json", "yaml"}

// New returns the command. Errors are returned from Execute, and printed by the caller.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	o := &options{IOStreams: streams, config: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:   "kubectl-oomwitness",
		Short: "Say why a container has died",
		Long: `Show why a container has died, the workloads with the most OOM kills, and the state of the
agents of the cluster.

The plugin asks the agent on the node of a pod through the API server (pods/proxy). The
Helm chart's ClusterRoles have the rights (docs/why.md). If no agent answers, the plugin
shows the status of the pod and its Events, and the reason.

Exit status of all commands:

  0  success
  1  a failure
  2  a wrong command line
  3  no such pod, container or run
  4  no agent answered, or an agent is missing or not ready
  5  why: the container was OOM-killed`,
		Example: `  kubectl oomwitness why web-7d4b9c-x2x8v
  kubectl oomwitness top -A --since 24h
  kubectl oomwitness events -A -w
  kubectl oomwitness nodes

  # kubectl completes "kubectl oomwitness <TAB>" by a second name of the plugin on the PATH
  ln -s "$(command -v kubectl-oomwitness)" ~/.local/bin/kubectl_complete-oomwitness`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl oomwitness"},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	flags := root.PersistentFlags()
	o.config.AddFlags(flags)
	cli.CompleteBy(root, "namespace", o.completeNamespaces)
	flags.StringVar(&o.agentSelector, "agent-selector", defaultSelector, "labels of the agents' pods")
	flags.StringVar(&o.agentNamespace, "agent-namespace", "oomwitness", "namespace of the agents' pods; only the owners of the nodes may create pods there")
	root.AddCommand(newWhy(o), newTop(o), newEvents(o), newNodes(o), newVersion(o))
	cli.MarkUsage(root)
	return root
}

// addOutput adds -o, and -A where a command has it.
func (o *options) addOutput(cmd *cobra.Command, namespaces bool) {
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "output format: text, wide (shows more, and cuts no name), json, yaml")
	cli.CompleteOneOf(cmd, "output", formats)
	if namespaces {
		cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "all namespaces")
	}
}

// complete checks the flags of all commands, and makes the client.
func (o *options) complete() error {
	if err := o.check(); err != nil {
		return err
	}
	return o.connect()
}

// check returns what is wrong with the flags of all commands.
func (o *options) check() error {
	errs := []error{cli.OneOf("output", o.output, formats...)}
	if selector, err := labels.Parse(o.agentSelector); err != nil || selector.Empty() {
		errs = append(errs, fmt.Errorf("--agent-selector %q: allowed is a selector of labels, such as %s", o.agentSelector, defaultSelector))
	}
	for flag, value := range map[string]string{"agent-namespace": o.agentNamespace, "namespace": *o.config.Namespace} {
		if (value != "" || flag == "agent-namespace") && len(validation.IsDNS1123Label(value)) > 0 {
			errs = append(errs, fmt.Errorf("--%s %q: allowed are lower-case letters, digits and -, at most 63", flag, value))
		}
	}
	if o.allNamespaces && *o.config.Namespace != "" {
		errs = append(errs, fmt.Errorf("--all-namespaces with --namespace %q: allowed is one of them", *o.config.Namespace))
	}
	return why.Usage(errors.Join(append(errs, o.checkConfig()...)...))
}
