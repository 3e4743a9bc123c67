//go:build linux

package plugin

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

const nodeName = "node-a"

// patience bounds every wait for another process.
const patience = 2 * time.Minute

// bench is a control plane with one node and its agent.
type bench struct {
	*controlplane.Plane
	plugin, pod string
	node        string
	agent       *corev1.Pod

	// The agent's process, with its program, address, spool and state.
	process            *exec.Cmd
	program, ip        string
	port               int
	spoolDir, stateDir string
}

// build builds one of the project's commands.
func build(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/oomwitness/oomwitness/cmd/"+name)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// address returns an address of this machine that the API server proxies to: it refuses
// loopback.
func address(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	t.Skip("needs an IPv4 address beside loopback")
	return ""
}

// start starts the real agent on the bench's port, or on a free one. The agent's spool of
// exits is the bench's: other tests of this machine write to the node's.
func (b *bench) start(t *testing.T) {
	t.Helper()
	const inOwnMounts = `mkdir -p "$2" && mount --bind "$1" "$2" && shift 2 && exec "$@"`
	b.process = exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", inOwnMounts, "sh", b.spoolDir, exits.DefaultDir,
		b.program, "agent", "--kubernetes=false", "--node-name", b.node, "--address", "", "--state-dir", b.stateDir,
		"--metrics-address", net.JoinHostPort(b.ip, strconv.Itoa(b.port)), "--log-format", "json")
	b.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := b.process.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, b.process.Start())
	t.Cleanup(func() { b.kill() })
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct{ Address, Msg string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serves metrics" {
			go func() {
				for lines.Scan() { // so that the agent is not held up
				}
			}()
			_, port, err := net.SplitHostPort(line.Address)
			require.NoError(t, err)
			b.port, err = strconv.Atoi(port)
			require.NoError(t, err)
			return
		}
	}
	t.Fatal("the agent has ended")
}

// kill ends the agent by SIGKILL.
func (b *bench) kill() {
	_ = b.process.Process.Kill()
	_ = b.process.Wait()
}

func newBench(t *testing.T) *bench {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the spool of exits is root's")
	}
	ip := address(t)
	b := &bench{
		Plane: controlplane.Start(t), plugin: build(t, "kubectl-oomwitness"), pod: "web-7d4b9c-20962", node: nodeName,
		program: build(t, "oomwitness"), ip: ip, spoolDir: t.TempDir(), stateDir: t.TempDir(),
	}
	for _, name := range []string{"shop", "oomwitness"} {
		_, err := b.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	b.join(t)
	return b
}

// beside returns a bench with another node, and the agent of that node, in the same cluster.
func (b *bench) beside(t *testing.T, node string) *bench {
	t.Helper()
	other := &bench{
		Plane: b.Plane, plugin: b.plugin, pod: b.pod, node: node, program: b.program, ip: b.ip, spoolDir: t.TempDir(), stateDir: t.TempDir(),
	}
	other.join(t)
	return other
}

// join starts the agent of the bench's node, and makes the node and the agent's pod.
func (b *bench) join(t *testing.T) {
	t.Helper()
	b.start(t)
	ctx := t.Context()
	_, err := b.Client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: b.node}}, metav1.CreateOptions{})
	require.NoError(t, err)
	agent := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "oomwitness", Name: "oomwitness-agent-" + b.node, Labels: map[string]string{
			"app.kubernetes.io/name": "oomwitness", "app.kubernetes.io/component": "agent",
		}},
		Spec: corev1.PodSpec{NodeName: b.node, Containers: []corev1.Container{{
			Name: "agent", Image: "registry.invalid/oomwitness:1", Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: int32(b.port)}},
		}}},
	}
	b.agent, err = b.Client.CoreV1().Pods("oomwitness").Create(ctx, agent, metav1.CreateOptions{})
	require.NoError(t, err)
	b.agent.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: b.ip, PodIPs: []corev1.PodIP{{IP: b.ip}}}
	b.agent, err = b.Client.CoreV1().Pods("oomwitness").UpdateStatus(ctx, b.agent, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// run runs the plugin, and returns its output and exit status.
func (b *bench) run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return clitest.Output(t, exec.CommandContext(t.Context(), b.plugin, append(args, "--kubeconfig", b.Kubeconfig)...))
}

// begin starts the plugin, and returns the lines of its output. The plugin is killed after a
// while.
func (b *bench) begin(t *testing.T, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.plugin, append(args, "--kubeconfig", b.Kubeconfig)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	return cmd, bufio.NewScanner(pipe)
}

// makePod makes a pod of the namespace shop with a container, whose newest run ended so.
func (b *bench) makePod(t *testing.T, name string, ended corev1.ContainerStateTerminated) {
	t.Helper()
	pods := b.Client.CoreV1().Pods("shop")
	pod, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{NodeName: nodeName, Containers: []corev1.Container{{Name: "app", Image: "registry.invalid/web:1", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		}}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "app", RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: &ended},
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
	}}}
	_, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// spool adds an exit of a pod to the node's spool, as its shim does.
func (b *bench) spool(t *testing.T, pod, uid, id string, ago time.Duration, v oom.Verdict) {
	t.Helper()
	require.NoError(t, exits.Append(b.spoolDir, exits.Exit{
		ID: id, Namespace: "k8s.io", Boot: "b", Pid: 4711, At: time.Now().Add(-ago), Status: 137, Reported: 137, Verdict: v,
		Pod:    &exits.Pod{Namespace: "shop", Name: pod, UID: uid, Container: "app", Image: "registry.invalid/web:1"},
		Memory: &exits.Memory{Usage: new(uint64(1)), Peak: new(uint64(64 << 20)), Limit: new(uint64(64 << 20))},
	}))
}
