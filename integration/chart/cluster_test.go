//go:build linux

package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/cri"
)

const (
	payload = "/opt/oomwitness/"
	chart   = payload + "runtime-class/chart"
	busybox = "/opt/workload-rootfs/bin/busybox"
	node    = "node"
	label   = "oomwitness.io/shim"

	// patience bounds every command: emulated machines are slow.
	patience = 6 * time.Minute
)

// try runs a command and gives all that it printed.
func try(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	// Also in a cleanup, when the test's context is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+os.TempDir()) // Helm wants one
	cmd.Dir = payload
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	printed := out.String()
	if len(printed) > 4<<10 {
		printed = printed[:4<<10] + "..."
	}
	t.Logf("$ %s %s (%.1fs)\n%s", name, strings.Join(args, " "), time.Since(start).Seconds(), printed)
	if err != nil {
		err = fmt.Errorf("%s %v: %w: %s", name, args, err, &out)
	}
	return out.String(), err
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(t, "", name, args...)
	require.NoError(t, err)
	return out
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "kubectl", args...)
}

// typed runs a command of the document, with more at its end.
func typed(t *testing.T, command string, more ...string) (string, error) {
	t.Helper()
	return try(t, "", "sh", append([]string{"-c", command + ` "$@"`, "sh"}, more...)...)
}

func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return try(t, "", "helm", args...)
}

// values are for a cluster without kube-proxy, and settings for its nodes.
func values(more ...string) []string {
	args := []string{
		"--set", "hostNetwork=true", "--set", "api.host=10.0.0.1", "--set-string", "api.port=6443",
		"--set", "settings.grace=4s",
	}
	for _, value := range more {
		args = append(args, "--set", value)
	}
	return args
}

// applied makes objects and removes them with the test.
func applied(t *testing.T, manifest string) {
	t.Helper()
	_, err := try(t, manifest, "kubectl", "apply", "-f", "-")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = try(t, manifest, "kubectl", "delete", "--ignore-not-found", "--grace-period=1", "-f", "-")
	})
}

// example is one of those of the repository.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(payload, "runtime-class/examples", name))
	require.NoError(t, err)
	return string(text)
}

// sleeper is a pod that runs for as long as it is let.
func sleeper(name, class string) string {
	if class != "" {
		class = "runtimeClassName: " + class
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  %s
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "busybox:1.37", command: [sleep, "100000"], resources: {limits: {memory: 32Mi}}}
`, name, class)
}

func pod(t *testing.T, name string) (p corev1.Pod) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(kubectl(t, "get", "pod", name, "-o", "json")), &p))
	return p
}

// containerd is the process that runs.
func containerd(t *testing.T) string {
	t.Helper()
	return run(t, "systemctl", "show", "--value", "-p", "MainPID", "containerd.service")
}

// cni is a network plugin that gives pods an address and nothing else.
const cni = `#!/bin/sh
case $CNI_COMMAND in
ADD) echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "'$CNI_IFNAME'", "sandbox": "'$CNI_NETNS'"}],
	"ips": [{"address": "10.1.0.2/24", "interface": 0}]}' ;;
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}' ;;
esac
`

// images imports what the pods need, as an operator without a registry does.
func images(t *testing.T) {
	t.Helper()
	withoutRegistry(t)
	_, err := typed(t, importImage)
	require.NoError(t, err)
}

// withoutRegistry adds to the cluster a network for pods, and the images that the examples
// would get from a registry.
func withoutRegistry(t *testing.T) {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("needs the cluster of the node's guest, and KUBECONFIG: make kube-chart")
	}
	require.NoError(t, os.MkdirAll("/etc/oomwitness", 0o755))
	require.NoError(t, os.MkdirAll("/opt/cni/bin", 0o755))
	for _, plugin := range []string{"none", "loopback"} {
		require.NoError(t, os.WriteFile("/opt/cni/bin/"+plugin, []byte(cni), 0o755))
	}
	shell, err := os.ReadFile(busybox)
	require.NoError(t, err)
	img := cri.Image{Programs: map[string][]byte{}, Entrypoint: []string{"sh"}, Folders: []string{"bin", "dev", "etc", "proc", "sys", "tmp"}}
	for _, applet := range []string{"dd", "sh", "sleep", "tail"} {
		img.Programs["bin/"+applet] = shell
	}
	for _, ref := range []string{"docker.io/library/busybox:1.37", "oomwitness.test/workload:1"} {
		img.Ref = ref
		if strings.Contains(ref, "workload") { // the one of the pods' sandboxes
			img.Entrypoint = []string{"sleep", "1000000"}
		}
		require.NoError(t, cri.Import(t.Context(), cri.Socket, img))
	}
}

// state is what a node is like, but for what comes and goes by itself.
func state(t *testing.T) string {
	t.Helper()
	files := strings.Split(run(t, "find", "/usr/local", "/etc", "-not", "-type", "d", "-printf", `%p %y %s %m %T@ %l\n`), "\n")
	slices.Sort(files)
	return "files:\n" + strings.Join(files, "\n") +
		"units:\n" + run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "oomwitness*") +
		"pins:\n" + run(t, "find", "/sys/fs/bpf", "-type", "f") +
		"configuration:\n" + run(t, "sh", "-c", "containerd config dump 2>/dev/null") +
		"labels:\n" + kubectl(t, "get", "node", node, "-o", "jsonpath={.metadata.labels}")
}
