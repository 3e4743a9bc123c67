package install_test

import (
	"path"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

func TestSnippet(t *testing.T) {
	o := tree(t)
	text, err := install.Snippet(t.Context(), o, "nodeconfig")
	require.NoError(t, err)
	require.Contains(t, text, "kind: NodeConfig\nspec:\n  containerd:\n    config: |\n      #")
	require.Contains(t, text, "\n# No runc handler is in /etc/containerd/config.toml: ")
	require.Contains(t, text, "\n      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.oomwitness]\n      runtime_type = 'io.containerd.runc.v2'\n"+
		"      runtime_path = '"+shimPath+"'\n")
	o.ContainerdVersion = "1.7"
	text, err = install.Snippet(t.Context(), o, "toml")
	require.NoError(t, err)
	require.Contains(t, text, "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.oomwitness.options]\nSystemdCgroup = true\n")
	text, err = install.Snippet(t.Context(), o, "cloud-init")
	require.NoError(t, err)
	require.Contains(t, text, "#cloud-config\n")
	require.Contains(t, text, "- [/usr/local/bin/oomwitness, install, --edit-config, --restart-containerd,")
	_, err = install.Snippet(t.Context(), o, "butane")
	require.ErrorContains(t, err, `--print "butane": allowed are toml, nodeconfig and cloud-init`)
	o.ContainerdVersion = "1.5"
	_, err = install.Snippet(t.Context(), o, "toml")
	require.ErrorContains(t, err, "containerd 1.5 cannot be served")
}

// TestSnippetAsRunc: the printed handler has the settings of the node's runc handler, as that of
// install has.
func TestSnippetAsRunc(t *testing.T) {
	const runc = "runtime_type = 'io.containerd.runc.v2'\nbase_runtime_spec = '/etc/containerd/base-runtime-spec.json'\n"
	o := tree(t)
	put(t, o.Root, o.MainConfig, "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n"+runc+
		"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nBinaryName = '/usr/sbin/runc'\nSystemdCgroup = false\n")
	config := string(nodeConfig(t, o))
	require.Contains(t, config, "base_runtime_spec = '/etc/containerd/base-runtime-spec.json'\n")
	require.Contains(t, config, "runtimes.oomwitness.options]\nBinaryName = '/usr/sbin/runc'\nSystemdCgroup = false\n")
	o.SystemdCgroup = "true"
	require.Contains(t, string(nodeConfig(t, o)), "SystemdCgroup = true\n")
	text, err := install.Snippet(t.Context(), o, "toml")
	require.NoError(t, err)
	require.Contains(t, text, "# With the settings of the runc handler in /etc/containerd/config.toml.\n")
	put(t, o.Root, o.MainConfig, "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\nBinaryName = '/usr/sbin/runc'\n")
	o.ContainerdVersion = "1.6.20"
	_, err = install.Snippet(t.Context(), o, "toml")
	require.ErrorContains(t, err, "the runc handler in /etc/containerd/config.toml has BinaryName")
	put(t, o.Root, o.MainConfig, "not [ TOML")
	_, err = install.Snippet(t.Context(), o, "nodeconfig")
	require.ErrorContains(t, err, "settings of the runc handler: ")
	_, err = install.Snippet(t.Context(), o, "cloud-init")
	require.NoError(t, err)
}

// TestSnippetPassesFlagsOn: cloud-init runs the command with the flags that the operator gave.
func TestSnippetPassesFlagsOn(t *testing.T) {
	o := tree(t)
	o.ConfDir, o.MainConfig, o.SystemdCgroup, o.ContainerdVersion, o.Agent = "/etc/c.d", "", "false", "2.2", true
	text, err := install.Snippet(t.Context(), o, "cloud-init")
	require.NoError(t, err)
	require.Contains(t, text, "install, --edit-config, --restart-containerd, --bin-dir, /usr/local/bin, --runtime-name, oomwitness, "+
		"--conf-dir, /etc/c.d, --containerd-version, \"2.2\", --systemd-cgroup, \"false\", --agent]\n")
	o.SystemdCgroup = "yes"
	_, err = install.Snippet(t.Context(), o, "toml")
	require.ErrorContains(t, err, `--systemd-cgroup "yes": allowed are auto, true and false`)
}

// TestSnippetQuotes: a path with words of YAML stays one path.
func TestSnippetQuotes(t *testing.T) {
	for _, dir := range []string{"/opt/bin", "/opt/a b", "/opt/{a}, [b]", "/opt/a: 'b' # c", "/opt/\"", "/123"} {
		o := tree(t)
		o.BinDir, o.Handler, o.ConfDir, o.MainConfig = dir, "123", "", ""
		text, err := install.Snippet(t.Context(), o, "cloud-init")
		require.NoError(t, err)
		var config struct{ Runcmd [][]string }
		require.NoError(t, yaml.Unmarshal([]byte(text), &config), "%s", text)
		require.Equal(t, [][]string{{path.Join(dir, "oomwitness"), "install", "--edit-config", "--restart-containerd", "--bin-dir", dir, "--runtime-name", "123"}}, config.Runcmd)
		require.Contains(t, string(nodeConfig(t, o)), "runtimes.123")
	}
	for _, name := range []string{"true", "null", "no", "on", "n"} {
		o := tree(t)
		o.Handler = name
		text, err := install.Snippet(t.Context(), o, "cloud-init")
		require.NoError(t, err)
		var config struct{ Runcmd [][]string }
		require.NoError(t, yaml.Unmarshal([]byte(text), &config), "%s", text)
		require.Contains(t, config.Runcmd[0], name)
	}
	o := tree(t)
	for _, dir := range []string{"bin", "", "/opt\n/bin"} {
		o.BinDir = dir
		_, err := install.Snippet(t.Context(), o, "nodeconfig")
		require.ErrorContains(t, err, "--bin-dir")
	}
}

// nodeConfig returns the part of containerd's configuration in a NodeConfig of EKS.
func nodeConfig(t *testing.T, o install.Options) []byte {
	t.Helper()
	text, err := install.Snippet(t.Context(), o, "nodeconfig")
	require.NoError(t, err)
	var config struct {
		Kind string
		Spec struct{ Containerd struct{ Config string } }
	}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &struct {
		APIVersion, Kind string
		Spec             any
	}{}), "%s", text)
	require.NoError(t, yaml.Unmarshal([]byte(text), &config))
	require.Equal(t, "NodeConfig", config.Kind)
	return []byte(config.Spec.Containerd.Config)
}

// TestSnippetOnEKS: containerd starts with the snippet merged into its configuration, as
// nodeadm merges it (key by key), and has the handler.
func TestSnippetOnEKS(t *testing.T) {
	needNodes(t)
	inNode(t, "EKS/2.2", "TestSnippetInNode")
}

func TestSnippetInNode(t *testing.T) {
	n := here(t)
	handlers := n.handlers()
	var merged, patch map[string]any
	require.NoError(t, toml.Unmarshal([]byte(n.files[mainFile]), &merged))
	require.NoError(t, toml.Unmarshal(nodeConfig(t, n.options()), &patch))
	deepMerge(merged, patch)
	text, err := toml.Marshal(merged)
	require.NoError(t, err)
	n.write(mainFile, string(text))
	require.NoError(t, n.Restart(t.Context(), n.unit))
	require.ElementsMatch(t, append(handlers, "oomwitness"), n.handlers())
	t.Logf("node=%q containerd=%s with the printed NodeConfig", n.name, n.version)
}
