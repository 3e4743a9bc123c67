package cli

import (
	"bytes"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func parsed(t *testing.T, args ...string) *agentFlags {
	t.Helper()
	var f agentFlags
	set := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	f.add(set)
	require.NoError(t, set.Parse(args))
	return &f
}

func TestAgentFlags(t *testing.T) {
	t.Setenv(nodeNameEnv, "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	require.NoError(t, parsed(t).check(), "the defaults")
	for _, arg := range []string{
		"--state-dir=here", "--address=here", "--dir=here", "--lock-dir=", "--log-level=loud", "--log-level=trace", "--log-format=xml",
		"--kubernetes=maybe", "--mark-causes=node,moon", "--memory-limit=much", "--memory-limit=-1", "--memory-limit=23m", "--health-address=auto", "--kube-api-qps=0",
		"--kube-api-burst=-1", "--series-ttl=0s", "--max-series=0", "--evict-every=0s", "--otlp-endpoint=collector:4317", "--victim-annotation=a", "--victim-label=a=b/c",
	} {
		name, _, _ := bytes.Cut([]byte(arg[2:]), []byte("="))
		require.ErrorContains(t, parsed(t, arg).check(), string(name), arg)
	}
	both := parsed(t, "--kubernetes=maybe", "--log-format=xml").check()
	require.ErrorContains(t, both, "kubernetes")
	require.ErrorContains(t, both, "log-format", "all of it at once")
}

func TestAgentInCluster(t *testing.T) {
	t.Setenv(nodeNameEnv, "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	require.False(t, parsed(t).wantsKubernetes())
	require.Equal(t, metricsOnNode, parsed(t).listenAddress())
	require.True(t, parsed(t, "--kubeconfig=/etc/x").wantsKubernetes())
	require.True(t, parsed(t, "--kubernetes=true").wantsKubernetes())
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	require.Equal(t, metricsInCluster, parsed(t).listenAddress())
	require.False(t, parsed(t, "--kubernetes=false").wantsKubernetes())
	require.Empty(t, parsed(t, "--metrics-address=").listenAddress())
	_, err := parsed(t).node()
	require.ErrorContains(t, err, "NODE_NAME")
	t.Setenv(nodeNameEnv, "node-1")
	name, err := parsed(t).node()
	require.NoError(t, err)
	require.Equal(t, "node-1", name)
	name, err = parsed(t, "--node-name=node-2").node()
	require.NoError(t, err)
	require.Equal(t, "node-2", name)
	_, err = parsed(t, "--node-name=../x").node()
	require.Error(t, err)
}

func TestAgentLogger(t *testing.T) {
	var out bytes.Buffer
	log, err := parsed(t, "--log-level=error").logger(&out)
	require.NoError(t, err)
	log.Warn("no")
	log.Error("yes")
	require.Contains(t, out.String(), `"msg":"yes"`, "JSON where there is no terminal")
	require.NotContains(t, out.String(), "no\"")
	log, err = parsed(t, "--log-format=text").logger(&out)
	require.NoError(t, err)
	require.Equal(t, logrus.InfoLevel, log.GetLevel())
	out.Reset()
	log.Info("yes")
	require.Contains(t, out.String(), "msg=yes")
}
