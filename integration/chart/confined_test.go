//go:build linux

package chart

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// documentedRight is a row of the table in docs/agent.md: verbs, a resource, and
// what it is for.
var documentedRight = regexp.MustCompile("(?m)^\\| ((?:`[a-z]+`(?:, )?)+) ([a-z/]+) \\| (.*) \\|$")

// documentedRights are those that the document grants where these conditions hold,
// each as "verb resource".
func documentedRights(t *testing.T, conditions ...string) (rights []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(payload, "docs/agent.md"))
	require.NoError(t, err)
	for _, row := range documentedRight.FindAllStringSubmatch(string(text), -1) {
		condition, is := strings.CutPrefix(row[3], "only with ")
		if is && !slices.Contains(conditions, condition) {
			continue
		}
		for verb := range strings.SplitSeq(row[1], ", ") {
			rights = append(rights, strings.Trim(verb, "`")+" "+row[2])
		}
	}
	require.NotEmpty(t, rights)
	return rights
}

// asked are the resources for which a right would be one too many, with the group
// behind an @.
var asked = []string{
	"pods", "pods/eviction", "pods/exec", "pods/log", "pods/status", "events", "events@events.k8s.io", "nodes", "nodes/proxy",
	"nodes/status", "secrets", "configmaps", "namespaces", "serviceaccounts/token", "daemonsets@apps", "replicasets@apps",
	"poddisruptionbudgets@policy", "clusterroles@rbac.authorization.k8s.io", "leases@coordination.k8s.io",
}

// mayOnly has the API server say what the agent's account may do in all
// namespaces: what the document grants under these conditions, and nothing else.
func (a *theAgent) mayOnly(t *testing.T, conditions ...string) {
	t.Helper()
	client, err := authorizationclient.NewForConfig(a.config)
	require.NoError(t, err)
	var allowed []string
	for _, name := range asked {
		path, group, _ := strings.Cut(name, "@")
		resource, sub, _ := strings.Cut(path, "/")
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:   "system:serviceaccount:" + namespace + ":" + a.pod.Spec.ServiceAccountName,
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: verb, Group: group, Resource: resource, Subresource: sub,
				},
			}}
			answer, err := client.SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
			require.NoError(t, err)
			if answer.Status.Allowed {
				allowed = append(allowed, verb+" "+name)
			}
		}
	}
	t.Logf("chart agent rights=%q of=%d", allowed, len(asked)*8)
	require.ElementsMatch(t, documentedRights(t, conditions...), allowed)
}

// pid is that of the agent's process on the node.
func (a *theAgent) pid(t *testing.T) int {
	t.Helper()
	_, id, _ := strings.Cut(a.pod.Status.ContainerStatuses[0].ContainerID, "://")
	pid, err := faultkit.InitPid(id)
	require.NoError(t, err)
	return pid
}

// proc reads a file of /proc/PID.
func proc(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

// bpfAlone is a set of capabilities with CAP_BPF, number 39.
const bpfAlone = "0000008000000000"

// confined: the kernel holds the agent's process to what the document says.
func (a *theAgent) confined(t *testing.T) {
	pid := a.pid(t)
	status := map[string]string{}
	for line := range strings.Lines(proc(t, pid, "status")) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.TrimSpace(value)
	}
	t.Logf("chart agent CapEff=%s CapBnd=%s NoNewPrivs=%s Seccomp=%s oom_score_adj=%s VmRSS=%q RssAnon=%q", status["CapEff"],
		status["CapBnd"], status["NoNewPrivs"], status["Seccomp"], proc(t, pid, "oom_score_adj"), status["VmRSS"], status["RssAnon"])
	for _, set := range []string{"CapEff", "CapPrm", "CapBnd"} {
		require.Equal(t, bpfAlone, status[set], set)
	}
	require.Equal(t, "1", status["NoNewPrivs"])
	require.Equal(t, "2", status["Seccomp"], "a filter")
	require.Equal(t, "-997", proc(t, pid, "oom_score_adj"))
	for _, namespace := range []string{"pid", "ipc", "mnt"} {
		own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, namespace))
		require.NoError(t, err)
		host, err := os.Readlink("/proc/1/ns/" + namespace)
		require.NoError(t, err)
		require.NotEqual(t, host, own)
	}
	a.mountsReadOnly(t, pid)
	a.withinMemory(t, pid, status["RssAnon"])
}

// mountsReadOnly: what is the node's is mounted read-only with all that is mounted
// below, such as containers' root file systems, but for two folders.
func (a *theAgent) mountsReadOnly(t *testing.T, pid int) {
	t.Helper()
	readOnly := map[string]bool{}
	for line := range strings.Lines(proc(t, pid, "mountinfo")) {
		fields := strings.Fields(line)
		readOnly[fields[4]] = strings.HasPrefix(fields[5]+",", "ro,")
	}
	var writable []string
	for point, ro := range readOnly {
		// What runtime and kubelet make for each container is the pod's own.
		own := point == "/etc/hosts" || strings.HasPrefix(point+"/", "/proc/") || strings.HasPrefix(point+"/", "/dev/")
		if !ro && !own {
			writable = append(writable, point)
		}
	}
	slices.Sort(writable)
	t.Logf("chart agent writable=%q", writable)
	require.Equal(t, []string{"/run/oomwitness", "/var/lib/oomwitness"}, writable)
	for _, point := range []string{"/", "/sys", "/sys/fs/bpf", "/sys/fs/cgroup", "/run/containerd"} {
		require.True(t, readOnly[point], point)
	}
}

// withinMemory: the cgroup's limit is the chart's and was never reached, and what the
// agent keeps is within Go's limit. What it has mapped of its program is not its own.
func (a *theAgent) withinMemory(t *testing.T, pid int, anon string) {
	t.Helper()
	dir := filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(proc(t, pid, "cgroup"), "0::"))
	number := func(file string) int64 {
		text, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		require.NoError(t, err, file)
		return n
	}
	limit, uses, most := number("memory.max"), number("memory.current"), number("memory.peak")
	t.Logf("chart agent memory.max=%d memory.current=%d memory.peak=%d", limit, uses, most)
	c := a.pod.Spec.Containers[0]
	require.Equal(t, c.Resources.Limits.Memory().Value(), limit)
	require.Less(t, most, limit)
	kB, err := strconv.ParseInt(strings.TrimSuffix(anon, " kB"), 10, 64)
	require.NoError(t, err)
	require.Contains(t, c.Args, "--memory-limit=23Mi")
	require.Less(t, kB<<10, int64(23<<20), "RssAnon")
}

// withoutCapability: without its only one the agent is not ready, and says why.
func (a *theAgent) withoutCapability(t *testing.T) {
	all := a.pod.Spec.Containers[0].SecurityContext.Capabilities.Add
	require.Equal(t, []corev1.Capability{"BPF"}, all)
	before := a.pod.UID
	a.capabilities(t, nil)
	a.await(t, "running", func(p *corev1.Pod) bool {
		return p.UID != before && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	const want = "needs CAP_BPF"
	require.NoError(t, faultkit.Until(t.Context(), "words of the agent", func() error {
		log, err := try(t, "", "kubectl", "-n", namespace, "logs", a.pod.Name)
		if err == nil && !strings.Contains(log, want) {
			err = errors.New("no " + want)
		}
		return err
	}))
	body, err := a.get(t, "/readyz", nil)
	require.Error(t, err)
	t.Logf("chart agent without=BPF readyz=%q", body)
	require.Contains(t, body, want)
	_, err = a.get(t, "/healthz", nil)
	require.NoError(t, err, "it lives, and looks again")
	require.Zero(t, a.metric(t, "oomwitness_ready"))
	require.EqualValues(t, 1, a.metric(t, "oomwitness_ledger_tier", `tier="D"`))
	a.await(t, "not ready", func(p *corev1.Pod) bool { return !isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 0 })

	a.capabilities(t, all)
	a.rolledOut(t)
	require.Equal(t, bpfAlone, strings.Fields(run(t, "grep", "CapEff", fmt.Sprintf("/proc/%d/status", a.pid(t))))[1])
}

// capabilities changes the agent's capabilities.
func (a *theAgent) capabilities(t *testing.T, add []corev1.Capability) {
	t.Helper()
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/template/spec/containers/0/securityContext/capabilities/add", "value": add},
	})
	require.NoError(t, err)
	kubectl(t, "-n", namespace, "patch", "daemonset", agentName, "--type=json", "-p", string(patch))
}

// gone: taken off, nothing of the agent is left but its state and locks, and nothing of the shims.
func (a *theAgent) gone(t *testing.T) {
	t.Helper()
	require.NoError(t, faultkit.Until(t.Context(), "the agent's pod to be gone", func() error {
		pods, err := a.core.Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(pods.Items) != 0 {
			err = fmt.Errorf("%s is there", pods.Items[0].Name)
		}
		return err
	}))
	require.Empty(t, strings.TrimSpace(kubectl(t, "get", "daemonsets,serviceaccounts,clusterroles,clusterrolebindings", "-A",
		"-l", "app.kubernetes.io/name=oomwitness", "-o", "name")))
	left := strings.Fields(run(t, "find", "/var/lib/oomwitness", "/run/oomwitness", "-type", "f"))
	t.Logf("chart agent left=%q", left)
	require.ElementsMatch(t, []string{
		stateDir + "/journal", stateDir + "/checkpoint", stateDir + "/exits", stateDir + "/lock",
		"/run/oomwitness/ring.lock", "/run/oomwitness/ledger.lock",
	}, left)
}
