package plugin

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// completer is the name of the program that kubectl asks to complete the command line of the
// plugin (k8s.io/kubectl/pkg/cmd/plugin_completion.go).
const completer = "kubectl_complete-oomwitness"

// Args returns the arguments of a command line, of which the first is the program's name. If
// kubectl asks for completion, they are those of cobra's hidden command for it.
func Args(line []string) []string {
	if len(line) == 0 {
		return []string{}
	}
	name := strings.TrimSuffix(filepath.Base(line[0]), ".exe")
	if name == completer {
		return append([]string{cobra.ShellCompRequestCmd}, line[1:]...)
	}
	return line[1:]
}

// completionTimeout limits the question to the API server for one completion: a shell waits.
const completionTimeout = 3 * time.Second

// offer returns the names that list reads from the API server, for the shell. wrong is what is
// wrong with the command line. Without names the shell offers nothing: no argument of the plugin
// is a file.
func (o *options) offer(cmd *cobra.Command, wrong error, list func(context.Context) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if wrong != nil || o.complete() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx := cmd.Context()
	if ctx == nil { // cobra runs completion without one
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	found, err := list(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completePods returns the pods' names for the shell.
func (c *whyCommand) completePods(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.offer(cmd, nil, func(ctx context.Context) (found []string, err error) {
		pods, err := c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range pods.Items {
			found = append(found, pods.Items[i].Name)
		}
		return found, nil
	})
}

// completeContainers returns the names of the containers of the pod in the argument.
func (c *whyCommand) completeContainers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c.container = "" // what is typed so far
	return c.offer(cmd, c.names(args[0]), func(ctx context.Context) ([]string, error) {
		pod, err := c.client.CoreV1().Pods(c.namespace).Get(ctx, c.pod, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return containerNames(pod), nil
	})
}

// completeNamespaces returns the names of the namespaces.
func (o *options) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	*o.config.Namespace = "" // what is typed so far
	return o.offer(cmd, nil, func(ctx context.Context) (found []string, err error) {
		namespaces, err := o.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range namespaces.Items {
			found = append(found, namespaces.Items[i].Name)
		}
		return found, nil
	})
}
