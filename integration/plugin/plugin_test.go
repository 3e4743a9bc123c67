//go:build linux

// Package plugin has tests of "kubectl oomwitness" against a real API server, and a real
// agent that the API server reaches as kubectl's proxy does. There is no kubelet: the
// status of pods is made up, and so are the exits in the spool, which a shim would write.
package plugin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
	"github.com/oomwitness/oomwitness/why"
)

const nodeName = "node-a"

// patience bounds every wait for another process.
const patience = 2 * time.Minute

// bench is a control plane with one node and its agent.
type bench struct {
	*controlplane.Plane
	plugin, pod string
	agent       *corev1.Pod
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

// startAgent starts the real agent, and returns its port.
func startAgent(t *testing.T, ip string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), build(t, "oomwitness"), "agent", "--kubernetes=false", "--node-name", nodeName, "--address", "",
		"--state-dir", t.TempDir(), "--metrics-address", net.JoinHostPort(ip, "0"), "--log-format", "json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
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
			n, err := strconv.Atoi(port)
			require.NoError(t, err)
			return n
		}
	}
	t.Fatal("the agent has ended")
	return 0
}

func newBench(t *testing.T) *bench {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the spool of exits is root's")
	}
	ip := address(t)
	b := &bench{Plane: controlplane.Start(t), plugin: build(t, "kubectl-oomwitness")}
	b.pod = fmt.Sprintf("web-7d4b9c-%05d", os.Getpid()%100000)
	port := startAgent(t, ip)
	ctx := t.Context()
	_, err := b.Client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, name := range []string{"shop", "oomwitness"} {
		_, err := b.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	agent := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "oomwitness", Name: "oomwitness-agent-x", Labels: map[string]string{
			"app.kubernetes.io/name": "oomwitness", "app.kubernetes.io/component": "agent",
		}},
		Spec: corev1.PodSpec{NodeName: nodeName, Containers: []corev1.Container{{
			Name: "agent", Image: "registry.invalid/oomwitness:1", Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: int32(port)}},
		}}},
	}
	b.agent, err = b.Client.CoreV1().Pods("oomwitness").Create(ctx, agent, metav1.CreateOptions{})
	require.NoError(t, err)
	b.agent.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}}
	b.agent, err = b.Client.CoreV1().Pods("oomwitness").UpdateStatus(ctx, b.agent, metav1.UpdateOptions{})
	require.NoError(t, err)
	return b
}

// run runs the plugin, and returns its output and exit status.
func (b *bench) run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.plugin, append(args, "--kubeconfig", b.Kubeconfig)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
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
func (b *bench) spool(t *testing.T, pod, id string, ago time.Duration, v oom.Verdict) {
	t.Helper()
	require.NoError(t, exits.Append(exits.DefaultDir, exits.Exit{
		ID: id, Namespace: "k8s.io", Boot: "b", Pid: 4711, At: time.Now().Add(-ago), Status: 137, Reported: 137, Verdict: v,
		Pod:    &exits.Pod{Namespace: "shop", Name: pod, UID: "u", Container: "app", Image: "registry.invalid/web:1"},
		Memory: &exits.Memory{Usage: new(uint64(1)), Peak: new(uint64(64 << 20)), Limit: new(uint64(64 << 20))},
	}))
}

func killed() oom.Verdict {
	return oom.Verdict{
		OOMKilled: true, Ended: oom.EndedOOM, Cause: oom.CauseContainer, Init: oom.Yes, Kills: 1, Rule: oom.RuleInitVictim, Evidence: "ledger", Tier: "A",
		Victims: []oom.Victim{{Seq: 1, At: time.Now(), PID: 4711, Comm: "python3", Lineage: oom.LineageInit, Cause: oom.CauseContainer, Anon: 60 << 20}},
		Memory:  &oom.Memory{Usage: 64 << 20, Limit: 64 << 20, Anon: 60 << 20, Kernel: 4 << 20, Candidates: []oom.Candidate{{PID: 4711, Comm: "python3", RSS: 60 << 20}}},
	}
}

// TestPlugin takes a pod through its life: the agent there, the pod deleted, the agent gone.
func TestPlugin(t *testing.T) {
	b := newBench(t)
	older := oom.Verdict{Ended: oom.EndedSignal, Rule: oom.RuleSender, Evidence: "ledger", Tier: "A", Sent: oom.Yes, Sender: &oom.Sender{PID: 812, Comm: "watchdog"}}
	b.spool(t, b.pod, b.pod+"-1", time.Hour, older)
	b.spool(t, b.pod, b.pod+"-2", time.Minute, killed())
	b.makePod(t, b.pod, corev1.ContainerStateTerminated{
		ContainerID: "containerd://" + b.pod + "-2", ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.NewTime(time.Now().Add(-time.Minute)),
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"why", b.why}, {"formats", b.formats}, {"nodes and top", b.nodesAndTop}, {"events", b.events}, {"not found", b.notFound},
		{"rights", b.rights}, {"pod deleted", b.podDeleted}, {"agent gone", b.agentGone},
	} {
		t.Run(test.name, test.run)
	}
}

func (b *bench) why(t *testing.T) {
	var out, errs string
	var status int
	require.Eventually(t, func() bool { // the agent reads the spool each second
		out, errs, status = b.run(t, "why", b.pod, "-n", "shop")
		return strings.Contains(out, "python3")
	}, patience, 100*time.Millisecond, "%s%s", out, errs)
	t.Logf("\n%s", out)
	require.Equal(t, why.StatusOOM, status)
	for _, text := range []string{
		"shop/" + b.pod + "/app: OOMKilled, ", "the container's own memory limit of 64.0Mi", "victim       python3, the container's init",
		"filled by    ###################.  94%   60.0Mi  anonymous", "limit 64.0Mi, request 32.0Mi, peak 64.0Mi (100% of the limit)",
		"2 runs of this container ended, 1 of them OOMKilled", "restarts     2", "earlier runs", "killed by a signal, status 137 (SIGKILL)",
	} {
		require.Contains(t, out, text)
	}
	require.NotContains(t, out, "note:")
	for line := range strings.Lines(out) {
		require.LessOrEqual(t, len([]rune(line)), 81, line)
	}
	out, _, status = b.run(t, "why", "pod/"+b.pod, "-n", "shop", "-c", "app", "--previous")
	require.Zero(t, status)
	require.Contains(t, out, "sent by      watchdog (pid 812, uid 0)")
}

func (b *bench) formats(t *testing.T) {
	out, _, status := b.run(t, "why", b.pod, "-n", "shop", "-o", "json")
	require.Equal(t, why.StatusOOM, status)
	d, err := why.Decode([]byte(out))
	require.NoError(t, err)
	require.Equal(t, why.SourceAgent, d.Source)
	require.Equal(t, nodeName, d.Node)
	require.Len(t, d.Runs, 2)
	require.Zero(t, d.Runs[0].PID, "the node's own, without --page-all")
	out, _, _ = b.run(t, "why", b.pod, "-n", "shop", "-o", "yaml")
	require.Contains(t, out, "\n    ended: oom\n")
	out, _, _ = b.run(t, "why", b.pod, "-n", "shop", "-o", "wide")
	require.Contains(t, out, "evidence     ledger, tier A; rule 1; init a victim: yes; 1 OOM kill\n")
}

func (b *bench) nodesAndTop(t *testing.T) {
	out, _, _ := b.run(t, "nodes")
	t.Logf("\n%s", out)
	require.Regexp(t, `(?m)^node-a +(yes|no) +[ABC-] `, out)
	out, _, status := b.run(t, "top", "-n", "shop", "--since", "2h")
	require.Zero(t, status)
	t.Logf("\n%s", out)
	require.Regexp(t, `(?m)^WORKLOAD +CONTAINER +OOM +KILLS +ENDED +LAST +CAUSE +PEAK +LIMIT$`, out)
	require.Regexp(t, `(?m)^web-7d4b9c\S* +app +1 +\d+ +2 `, out)
	out, _, _ = b.run(t, "top", "-A", "-o", "json")
	require.Contains(t, out, `"namespace": "shop"`)
}

func (b *bench) events(t *testing.T) {
	event := func(name, message string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Reason: "OOMKilling", Message: message, Type: "Warning", Count: 3,
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: b.pod}, LastTimestamp: metav1.Now(),
		}
	}
	events := b.Client.CoreV1().Events("shop")
	_, err := events.Create(t.Context(), event("a", "Killed process python3"), metav1.CreateOptions{})
	require.NoError(t, err)
	out, _, status := b.run(t, "events", "-n", "shop")
	require.Zero(t, status)
	require.Contains(t, out, "3  "+b.pod+"  Killed process python3\n")

	cmd := exec.CommandContext(t.Context(), b.plugin, "events", "-A", "-w", "--kubeconfig", b.Kubeconfig)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(pipe)
	require.True(t, lines.Scan(), "the titles")
	require.True(t, lines.Scan(), "the Event that is there")
	_, err = events.Create(t.Context(), event("b", "Killed process java"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "shop/"+b.pod+"  Killed process java")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), "Ctrl-C is no failure")
}

func (b *bench) notFound(t *testing.T) {
	for want, args := range map[string][]string{
		`pod "nobody" is not in namespace "shop", and none of the 1 agents knows`: {"why", "nobody", "-n", "shop"},
		`container "nothing" is not in pod ` + b.pod + `: there are app`:          {"why", b.pod, "-n", "shop", "-c", "nothing"},
	} {
		_, errs, status := b.run(t, args...)
		require.Equal(t, why.StatusNotFound, status, errs)
		require.Contains(t, errs, want)
		require.Equal(t, 1, strings.Count(errs, "\n"))
	}
}

// podDeleted: the agent still knows.
func (b *bench) podDeleted(t *testing.T) {
	require.NoError(t, b.Client.CoreV1().Pods("shop").Delete(t.Context(), b.pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	out, _, status := b.run(t, "why", b.pod, "-n", "shop")
	require.Equal(t, why.StatusOOM, status)
	require.Contains(t, out, "python3")
	require.Contains(t, out, "note: the pod was deleted")
}

// agentGone: the status of the pod is what is left, and the plugin says so.
func (b *bench) agentGone(t *testing.T) {
	require.NoError(t, b.Client.CoreV1().Pods("oomwitness").Delete(t.Context(), b.agent.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	ended := corev1.ContainerStateTerminated{ContainerID: "containerd://x", ExitCode: 137, Reason: "Error", FinishedAt: metav1.Now()}
	b.makePod(t, "killed", ended)
	out, _, status := b.run(t, "why", "killed", "-n", "shop")
	t.Logf("\n%s", out)
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, out, `ended by     not known, because the status of the pod says "Error"`)
	require.Contains(t, out, "note: the agent on node node-a was not asked or did not answer: no agent")
	ended.Reason = "OOMKilled"
	b.makePod(t, "oom", ended)
	out, _, status = b.run(t, "why", "oom", "-n", "shop")
	require.Equal(t, why.StatusOOM, status)
	require.Contains(t, out, "OOMKilled")
	require.Contains(t, out, "no Event of an OOM kill")
	_, errs, status := b.run(t, "top", "-A")
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, errs, "no pod has the labels app.kubernetes.io/name=oomwitness")
	out, _, status = b.run(t, "nodes")
	require.Equal(t, why.StatusNoAgent, status)
	require.Regexp(t, `(?m)^node-a +no +- +- +- +- +no agent runs there$`, out)
}
