package runtimeclass

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
)

// TestNull: null takes a default away. The schema refuses that for a value without which the
// chart cannot be, and names the value. The chart does without all others at once.
func TestNull(t *testing.T) {
	paths := leaves(t, "", readValues(t))
	var required, optional []string
	values := map[string]string{"agent.enabled": "true", "agent.service.create": "true", "agent.dashboard.create": "true", "agent.networkPolicy.create": "true"}
	all := map[string]string{}
	for _, path := range paths {
		all[path] = "null"
	}
	_, err := helm(t, templateArgs(all)...)
	require.Error(t, err)
	for _, path := range paths {
		// 'agent': missing properties 'port', 'page'
		above, last := path[:max(0, strings.LastIndex(path, "."))], path[strings.LastIndex(path, ".")+1:]
		if names(err.Error(), above, last) {
			required = append(required, path)
			continue
		}
		optional = append(optional, path)
		values[path] = "null"
	}
	require.Subset(t, required, []string{"handler", "hostNetwork", "image.repository", "node.label", "agent.mark.causes", "agent.api.qps", "uninstall.timeout"})
	require.Subset(t, optional, []string{"settings", "commonLabels", "node.confDir", "node.writable", "agent.mark.label", "agent.podLabels", "daemonSet.extraEnv"})

	text := render(t, values)
	set, _, objects := agentObjects(t, values)
	require.NotEmpty(t, objects)
	require.NotContains(t, text, "<nil>")
	args := append(set.Spec.Template.Spec.Containers[0].Args, one[*batchv1.Job](t, objects).Spec.Template.Spec.Containers[0].Args...)
	for _, arg := range args {
		flag, value, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(arg, "--") && value == "" {
			require.Contains(t, []string{"--address", "--victim-annotation", "--victim-label", "--otlp-endpoint"}, flag)
		}
	}
}

// names reports whether an error of the schema names a missing value of a section.
func names(text, section, value string) bool {
	for line := range strings.Lines(text) {
		_, missing, found := strings.Cut(line, "missing propert")
		at := "at '/" + strings.ReplaceAll(section, ".", "/") + "'"
		if section == "" {
			at = "at ''"
		}
		if found && strings.Contains(line, at) && strings.Contains(missing, "'"+value+"'") {
			return true
		}
	}
	return false
}

// TestNames: two releases of a cluster do not share a name, however long their names are, and
// whatever their namespaces.
func TestNames(t *testing.T) {
	long := strings.Repeat("a", 50)
	seen := map[string]string{}
	for _, r := range []struct{ namespace, name, full string }{
		{"team", "a-oomwitness", ""}, {"team-a", "oomwitness", ""}, {"x", long + "-b1", ""}, {"x", long + "-c2", ""},
		{strings.Repeat("n", 63), "oomwitness", ""}, {strings.Repeat("n", 62) + "m", "oomwitness", ""}, {"y", "with.dot", ""}, {"y", "o", long},
		// Names that are numbers and truth values in YAML.
		{"123", "y", "1e3"}, {"null", "0x1f", "on"},
	} {
		args := []string{"template", r.name, "chart", "--namespace", r.namespace, "--set", "agent.enabled=true,agent.service.create=true,agent.dashboard.create=true,agent.dashboard.namespace=grafana"}
		if r.full != "" {
			args = append(args, "--set", "fullnameOverride="+r.full)
		}
		text, err := helm(t, args...)
		require.NoError(t, err)
		require.NotEmpty(t, decode(t, text))
		kind, in := "", ""
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch key {
			case "kind":
				kind, in = value, ""
			case "  namespace":
				in = strings.Trim(value, `"'`)
				require.LessOrEqual(t, len(in), 63)
			case "  name":
				value = strings.Trim(value, `"'`)
				require.LessOrEqual(t, len(value), 63+10)
				if kind == "Service" {
					require.Regexp(t, `^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`, value)
				}
				if strings.HasPrefix(kind, "Cluster") || strings.HasPrefix(kind, "Validating") || strings.HasSuffix(value, "-dashboard") {
					require.Empty(t, seen[kind+" "+value], "%v: %s %s", r, kind, value)
					seen[kind+" "+value] = r.namespace + "/" + r.name
				}
			}
		}
	}
}

// TestTogether: values that do not go together are refused at render. The API server merges
// variables by their names, so that none may be there twice.
func TestTogether(t *testing.T) {
	for want, values := range map[string]map[string]string{
		"daemonSet.extraEnv: NODE_NAME is set twice, or by the chart itself":           {"daemonSet.extraEnv": `[{"name":"NODE_NAME","value":"x"}]`},
		"daemonSet.extraEnv: A is set twice":                                           {"daemonSet.extraEnv": `[{"name":"A"},{"name":"A"}]`},
		"agent.extraEnv: KUBERNETES_SERVICE_HOST is set twice, or by the chart itself": {"agent.enabled": "true", "api.host": `"10.0.0.1"`, "agent.extraEnv": `[{"name":"KUBERNETES_SERVICE_HOST","value":"x"}]`},
		"agent.healthPort: has to be another port than agent.port":                     {"agent.enabled": "true", "agent.healthPort": "8080"},
		"resourceQuota.create: the quota is for the pods of priority classes, and none is set": {
			"resourceQuota.create": "true", "daemonSet.priorityClassName": `""`, "agent.priorityClassName": `""`,
		},
	} {
		_, err := helm(t, templateArgs(values)...)
		require.ErrorContains(t, err, want)
	}
	render(t, map[string]string{"agent.enabled": "true", "agent.extraEnv": `[{"name":"KUBERNETES_SERVICE_HOST","value":"x"}]`})
}
