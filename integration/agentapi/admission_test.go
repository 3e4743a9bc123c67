//go:build linux

package agentapi

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	chartNamespace = "oomwitness"
	agentAccount   = "oomwitness-agent"
	otherNode      = "node-b"
	markKey        = "example.com/oom-victim"
	markValue      = "yes"
)

// installedChart has the API server take the chart's objects with the agent.
func installedChart(t *testing.T, p *controlplane.Plane, values ...string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: chartNamespace}}
	if _, err := p.Client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	args := []string{"template", "oomwitness", "../../runtime-class/chart", "-n", chartNamespace, "--no-hooks", "--set", "agent.enabled=true"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	objects, err := exec.CommandContext(t.Context(), "../../.cache/bin/helm", args...).Output()
	if err != nil {
		t.Fatalf("helm: %v", err)
	}
	apply := exec.CommandContext(t.Context(), filepath.Join(controlplane.Programs(t), "kubectl"), "--kubeconfig", p.Kubeconfig, "apply", "-f", "-")
	apply.Stdin = bytes.NewReader(objects)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

// agentToken has the API server issue the token of the agent's pod on a node, as
// kubelet asks for it; "" for a token that is bound to no pod.
func agentToken(t *testing.T, p *controlplane.Plane, node string) *rest.Config {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if node != "" {
		pod, err := p.Client.CoreV1().Pods(chartNamespace).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "agent-" + node},
			Spec: corev1.PodSpec{
				NodeName: node, ServiceAccountName: agentAccount,
				Containers: []corev1.Container{{Name: "agent", Image: "registry.invalid/oomwitness:1"}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	issued, err := p.Client.CoreV1().ServiceAccounts(chartNamespace).CreateToken(t.Context(), agentAccount, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(p.Config)
	config.BearerToken, config.QPS = issued.Status.Token, -1
	return config
}

// TestAdmission sends requests with the agent's own token and with the rights of the chart's
// role: what the agent does, and what somebody who has stolen the token would try.
func TestAdmission(t *testing.T) {
	p := ready(t)
	installedChart(t, p, "agent.evict=true", "agent.mark.annotation="+markKey+"="+markValue, "agent.mark.label="+markKey+"="+markValue)
	for _, node := range []string{nodeName, otherNode} {
		if _, err := p.Client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	a := &attack{plane: p, token: agentToken(t, p, nodeName)}
	a.own = makePod(t, p, "own", managed)
	a.other = makePod(t, p, "other", func(pod *corev1.Pod) { managed(pod); pod.Spec.NodeName = otherNode })
	makePod(t, p, "pending", func(pod *corev1.Pod) { managed(pod); pod.Spec.NodeName = "" })
	a.client(t, a.token)
	controlplane.Until(t, "the policies", func() bool {
		return a.patch(t, "pods", "other", `{"metadata":{"labels":{"example.com/oom-victim":"yes"}}}`) != nil && a.evict(t, "other", a.other.UID) != nil
	})
	t.Run("refused", a.refused)
	t.Run("another token", a.otherTokens)
	t.Run("allowed", a.allowed)
}

// attack sends requests with a token.
type attack struct {
	plane      *controlplane.Plane
	token      *rest.Config
	as         kubernetes.Interface
	own, other *corev1.Pod
}

func (a *attack) client(t *testing.T, config *rest.Config) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	a.as = client
}

func (a *attack) do(t *testing.T, r *rest.Request) error {
	t.Helper()
	return r.MaxRetries(0).Do(t.Context()).Error()
}

func (a *attack) patch(t *testing.T, resource, name, body string) error {
	t.Helper()
	return a.do(t, a.as.CoreV1().RESTClient().Patch(types.MergePatchType).Namespace("default").Resource(resource).Name(name).Body([]byte(body)))
}

func (a *attack) evict(t *testing.T, name string, uid types.UID) error {
	t.Helper()
	return a.evictBy(t, name, fmt.Sprintf(`{"preconditions":{"uid":%q},"dryRun":["All"]}`, uid))
}

func (a *attack) evictBy(t *testing.T, name, options string) error {
	t.Helper()
	body := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":"default"},"deleteOptions":%s}`, name, options)
	return a.do(t, a.as.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(name).SubResource("eviction").
		SetHeader("Content-Type", "application/json").Body([]byte(body)))
}

func (a *attack) event(t *testing.T, change func(*corev1.Event)) error {
	t.Helper()
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default", GenerateName: "forged."},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "own", UID: a.own.UID},
		Reason:         "OOMKilling", Type: corev1.EventTypeWarning, Message: "killed",
		Source: corev1.EventSource{Component: "oomwitness", Host: nodeName}, ReportingController: "oomwitness", ReportingInstance: nodeName,
	}
	change(e)
	_, err := a.as.CoreV1().Events("default").Create(t.Context(), e, metav1.CreateOptions{})
	return err
}

// seal makes an Event as another component on another host made it.
func (a *attack) seal(t *testing.T, name, component, host string) {
	t.Helper()
	_, err := a.plane.Client.CoreV1().Events("default").Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: name},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "other"},
		Reason:         "OOMKilling", Type: corev1.EventTypeWarning, Source: corev1.EventSource{Component: component, Host: host},
		ReportingController: component, ReportingInstance: host, LastTimestamp: metav1.NewTime(time.Now()),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

const byPolicy = "ValidatingAdmissionPolicy"

// refused sends the requests that the role allows and that the policy must deny, and looks for
// a word of the policy in each answer.
func (a *attack) refused(t *testing.T) {
	a.seal(t, "of-kubelet", "kubelet", nodeName)
	a.seal(t, "of-other", "oomwitness", otherNode)
	a.seal(t, "of-own", "oomwitness", nodeName)
	mine := fmt.Sprintf(`{"preconditions":{"uid":%q}`, a.own.UID)
	pod := func(name, body string) func(*testing.T) error {
		return func(t *testing.T) error { t.Helper(); return a.patch(t, "pods", name, body) }
	}
	eviction := func(name, options string) func(*testing.T) error {
		return func(t *testing.T) error { t.Helper(); return a.evictBy(t, name, options) }
	}
	event := func(change func(*corev1.Event)) func(*testing.T) error {
		return func(t *testing.T) error { t.Helper(); return a.event(t, change) }
	}
	ofEvent := func(name, body string) func(*testing.T) error {
		return func(t *testing.T) error { t.Helper(); return a.patch(t, "events", name, body) }
	}
	mark := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, markKey, markValue)
	for _, c := range []struct {
		name, why string
		ask       func(*testing.T) error
	}{
		{"mark of a pod on another node", "only pods of the node", pod("other", mark)},
		{"mark of a pod on no node", "only pods of the node", pod("pending", mark)},
		{"image", "nothing of a pod but its mark", pod("own", `{"spec":{"containers":[{"name":"app","image":"evil.invalid/x:1"}]}}`)},
		{"deadline", "nothing of a pod but its mark", pod("own", `{"spec":{"activeDeadlineSeconds":1}}`)},
		{"finalizer", "nothing of a pod but its mark", pod("own", `{"metadata":{"finalizers":["evil.example/x"]}}`)},
		{"owner", "nothing of a pod but its mark", pod("own", `{"metadata":{"ownerReferences":null}}`)},
		{"another label", "of all labels", pod("own", `{"metadata":{"labels":{"app":"other"}}}`)},
		{"a new label", "of all labels", pod("own", `{"metadata":{"labels":{"evil":"yes"}}}`)},
		{"a label removed", "of all labels", pod("own", `{"metadata":{"labels":{"app":null}}}`)},
		{"all labels removed", "of all labels", pod("own", `{"metadata":{"labels":null}}`)},
		{"another value", "of all labels", pod("own", fmt.Sprintf(`{"metadata":{"labels":{%q:"no"}}}`, markKey))},
		{"another annotation", "of all annotations", pod("own", `{"metadata":{"annotations":{"cluster-autoscaler.kubernetes.io/safe-to-evict":"true"}}}`)},
		{"another value of the annotation", "of all annotations", pod("own", fmt.Sprintf(`{"metadata":{"annotations":{%q:"no"}}}`, markKey))},
		{"mark with something else", "nothing of a pod but its mark", pod("own", strings.TrimSuffix(mark, "}")+`,"spec":{"activeDeadlineSeconds":1}}`)},

		{"eviction on another node", "only pods of the node", eviction("other", fmt.Sprintf(`{"preconditions":{"uid":%q}}`, a.other.UID))},
		{"eviction of a pod on no node", "only pods of the node", eviction("pending", `{"preconditions":{"uid":"x"}}`)},
		{"eviction without a UID", "only by its UID", eviction("own", `{}`)},
		{"eviction on another node without a UID", "only", eviction("other", `{}`)},
		{"eviction at once", "the grace period of the pod", eviction("own", mine+`,"gracePeriodSeconds":0}`)},
		{"eviction that orphans", "the grace period of the pod", eviction("own", mine+`,"propagationPolicy":"Orphan"}`)},

		{"Event as another node's agent", "on node node-a only", event(func(e *corev1.Event) { e.Source.Host, e.ReportingInstance = otherNode, otherNode })},
		{"Event as kubelet", "as oomwitness", event(func(e *corev1.Event) { e.Source.Component, e.ReportingController = "kubelet", "kubelet" })},
		{"Event of no source", "as oomwitness", event(func(e *corev1.Event) { e.Source = corev1.EventSource{} })},
		{"Event that is no warning", "may write Warnings", event(func(e *corev1.Event) { e.Type = corev1.EventTypeNormal })},
		{"Event on another node", "about node node-a only", event(func(e *corev1.Event) {
			e.InvolvedObject = corev1.ObjectReference{Kind: "Node", Name: otherNode}
		})},
		{"Event on a Deployment", "about pods", event(func(e *corev1.Event) { e.InvolvedObject.Kind = "Deployment" })},
		{"kubelet's Event", "only", ofEvent("of-kubelet", `{"message":"nothing happened"}`)},
		{"kubelet's Event read", "only", ofEvent("of-kubelet", `{}`)},
		{"kubelet's Event taken over", "an Event of its own", ofEvent("of-kubelet",
			`{"source":{"component":"oomwitness"},"reportingComponent":"oomwitness"}`)},
		{"another agent's Event", "only", ofEvent("of-other", `{"count":99}`)},
		{"its Event for another pod", "an Event of its own", ofEvent("of-own", `{"involvedObject":{"name":"own"}}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.ask(t)
			if err == nil || !strings.Contains(err.Error(), byPolicy) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("the answer is %v, want one by the %s that says %q", err, byPolicy, c.why)
			}
		})
	}
}

// otherTokens tries three accounts. A token that is bound to no pod may do nothing. The token
// of another node may do on that node what this token may do here. The policy does not restrict
// other accounts.
func (a *attack) otherTokens(t *testing.T) {
	mark := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, markKey, markValue)
	a.client(t, agentToken(t, a.plane, ""))
	for what, err := range map[string]error{
		"mark": a.patch(t, "pods", "own", mark), "eviction": a.evict(t, "own", a.own.UID), "Event": a.event(t, func(*corev1.Event) {}),
	} {
		if err == nil || !strings.Contains(err.Error(), "names no node") {
			t.Errorf("%s by a token that is bound to no pod: %v", what, err)
		}
	}
	a.client(t, agentToken(t, a.plane, otherNode))
	if err := a.patch(t, "pods", "own", mark); err == nil {
		t.Error("the other node's agent marks a pod of this one")
	}
	if err := a.patch(t, "pods", "other", mark); err != nil {
		t.Errorf("the other node's agent marks its own: %v", err)
	}
	if err := a.evict(t, "other", a.other.UID); err != nil {
		t.Errorf("the other node's agent evicts its own: %v", err)
	}
	a.client(t, a.plane.Config)
	if err := a.patch(t, "pods", "own", `{"metadata":{"labels":{"any":"thing"}}}`); err != nil {
		t.Errorf("the administrator: %v", err)
	}
	a.client(t, a.token)
}

// allowed shows that the policies in force do not hinder the agent: with its own token it does
// all of its work.
func (a *attack) allowed(t *testing.T) {
	agent := startAgent(t, a.token, func(o *agenttest.KubeOptions) {
		o.Annotation, o.Label = markKey+"="+markValue, markKey+"="+markValue
	})
	agent.take(t, false, oomEvent(901, oom.CauseNode, a.own), oomEvent(902, oom.CauseNode, a.own), oomEvent(903, oom.CauseNode, nil))
	agent.stop()
	if agent.counts.get("event reported") != 3 || agent.counts.get("mark marked") != 2 {
		t.Errorf("counted %s", agent.counts.all())
	}
	if got := getPod(t, a.plane, "own"); got.Labels[markKey] != markValue || got.Annotations[markKey] != markValue {
		t.Errorf("the pod has labels %v and annotations %v", got.Labels, got.Annotations)
	}
	evicter := startAgent(t, a.token, func(o *agenttest.KubeOptions) { o.Evict = true })
	evicter.take(t, false, oomEvent(904, oom.CauseNode, a.own))
	if evicter.counts.get("mark evicted") != 1 {
		t.Errorf("counted %s", evicter.counts.all())
	}
}
