//go:build linux

package agentapi

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

// chartRules returns the rules of the agent's role as the Helm chart grants them.
func chartRules(t *testing.T, values ...string) []rbacv1.PolicyRule {
	t.Helper()
	const program = "../../.cache/bin/helm"
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("Helm is not built: %v\n\"make chart\" builds it, which takes minutes", err)
	}
	args := []string{"template", "oomwitness", "../../runtime-class/chart", "--show-only", "templates/agent/rbac.yaml", "--set", "agent.enabled=true"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	out, err := exec.CommandContext(t.Context(), program, args...).Output()
	if err != nil {
		t.Fatalf("helm: %v\n%s", err, out)
	}
	for text := range bytes.SplitSeq(out, []byte("\n---\n")) {
		role := &rbacv1.ClusterRole{}
		if err := yaml.Unmarshal(text, role); err == nil && role.Kind == "ClusterRole" {
			return role.Rules
		}
	}
	t.Fatalf("the chart has no ClusterRole:\n%s", out)
	return nil
}

// asServiceAccount grants rules to a service account, and returns its configuration.
func asServiceAccount(t *testing.T, p *controlplane.Plane, name string, rules ...rbacv1.PolicyRule) *rest.Config {
	t.Helper()
	rbac := p.Client.RbacV1()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	if _, err := rbac.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}},
	}
	if _, err := rbac.ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(p.Config)
	config.Impersonate.UserName = "system:serviceaccount:default:" + name
	controlplane.Until(t, "the role", func() bool { return may(t, config, rules[len(rules)-1]) })
	return config
}

// may asks the API server whether a rule's first verb is allowed.
func may(t *testing.T, config *rest.Config, rule rbacv1.PolicyRule) bool {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	resource, sub := rule.Resources[0], ""
	if resource == "pods/eviction" {
		resource, sub = "pods", "eviction"
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: "default", Group: rule.APIGroups[0], Resource: resource, Subresource: sub, Verb: rule.Verbs[0],
		},
	}}
	answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Allowed
}

// roles: with the rules of the chart's role the agent does all of its work, and the API server
// denies everything beyond.
func roles(t *testing.T, p *controlplane.Plane) {
	config := asServiceAccount(t, p, "agent-all", chartRules(t, "agent.mark.label=example.com/oom-victim=true", "agent.evict=true")...)
	pod := makePod(t, p, "role", managed)
	a := startAgent(t, config, func(o *agenttest.KubeOptions) {
		withMarks(o)
		o.Evict = true
	})
	a.take(t, false, oomEvent(201, oom.CauseNode, pod), oomEvent(202, oom.CauseNode, nil))
	if a.counts.get("event reported") != 2 || a.counts.get("mark evicted") != 1 || a.counts.get("mark marked")+a.counts.get("mark skipped pod_gone") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
	for _, more := range []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"update"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"delete"}},
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"patch"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}},
		{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}, Verbs: []string{"get"}},
		{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: []string{"get"}},
	} {
		if may(t, config, more) {
			t.Errorf("the role allows to %s %s", more.Verbs[0], more.Resources[0])
		}
	}
}

// roleWithoutMarks: without the rights to mark and evict the agent still reports, and says what
// was denied.
func roleWithoutMarks(t *testing.T, p *controlplane.Plane) {
	config := asServiceAccount(t, p, "agent-reports", chartRules(t)...)
	pod := makePod(t, p, "poor", managed)
	a := startAgent(t, config, func(o *agenttest.KubeOptions) {
		withMarks(o)
		o.Evict = true
	})
	a.take(t, false, oomEvent(211, oom.CauseNode, pod))
	if a.counts.get("event reported") != 1 || a.counts.get("mark skipped forbidden") != 2 {
		t.Errorf("counted %s", a.counts.all())
	}
	if got := getPod(t, p, pod.Name); got.ResourceVersion != pod.ResourceVersion {
		t.Errorf("the pod was changed: %v, %v", got.Annotations, got.Labels)
	}
}
