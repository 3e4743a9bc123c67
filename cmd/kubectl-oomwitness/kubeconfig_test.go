package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// TestNoKubeconfig: the error says that there is no kubeconfig, or what the kubeconfig lacks,
// and what to set, and no address that nobody has set.
func TestNoKubeconfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const (
		cluster = "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n"
		context = "contexts: [{name: one, context: {cluster: a}}, {name: two, context: {cluster: none}}]\n"
	)
	none := filepath.Join(dir, "none")
	for name, test := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"no file":             {[]string{"HOME=" + dir, "KUBECONFIG="}, nil, "there is no kubeconfig at " + dir + "/.kube/config: set KUBECONFIG or --kubeconfig"},
		"no home":             {[]string{"HOME=", "KUBECONFIG="}, nil, "there is no kubeconfig at "},
		"KUBECONFIG, no file": {[]string{"KUBECONFIG=" + none}, nil, "there is no kubeconfig at " + none + ": set KUBECONFIG"},
		"a folder":            {[]string{"KUBECONFIG=" + dir}, nil, "the kubeconfig " + dir + ": is a directory"},
		"an empty file":       {[]string{"KUBECONFIG=" + write("empty", "")}, nil, "there is no kubeconfig at " + dir + "/empty: set"},
		"other text":          {[]string{"KUBECONFIG=" + write("text", "root:x:0:0\n")}, nil, "the kubeconfig " + dir + "/text: this file is no kubeconfig"},
		"no context":          {[]string{"KUBECONFIG=" + write("contexts", cluster+context)}, nil, "has no current context: --context with one of one, two"},
		"no such context":     {[]string{"KUBECONFIG=" + write("other", cluster+context+"current-context: three\n")}, nil, "three"},
		"no cluster":          {[]string{"KUBECONFIG=" + write("cluster", cluster+context)}, []string{"--context", "two"}, `has no API server for its context "two"`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range []string{"nodes", "why a", "top", "events", "version"} {
				cmd := clitest.Command(t, append(strings.Fields(command), test.args...)...)
				cmd.Env = append(cmd.Env, test.env...)
				out, errs, status := clitest.Output(t, cmd)
				require.Equal(t, why.StatusError, status, errs)
				require.Empty(t, out)
				require.Contains(t, errs, "the API server is not known: ")
				require.Contains(t, errs, test.want)
				require.Equal(t, 1, strings.Count(errs, "\n"), errs)
				require.NotContains(t, errs, "localhost:8080")
			}
		})
	}
}

// TestPipedKubeconfig: a kubeconfig may come from a pipe, which is read once.
func TestPipedKubeconfig(t *testing.T) {
	cmd := clitest.Command(t, "events", "--kubeconfig")
	cmd.Args = append(cmd.Args, clitest.Piped(t, cmd, "clusters: [{name: a, cluster: {server: '"+server(t)+"'}}]\n"+
		"contexts: [{name: a, context: {cluster: a, namespace: shop}}]\ncurrent-context: a\n"))
	out, errs, status := clitest.Output(t, cmd)
	require.Zero(t, status, errs)
	require.Contains(t, out, "Killed process")
}
