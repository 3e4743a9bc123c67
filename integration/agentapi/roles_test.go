//go:build linux

package agentapi

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/kube"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

// Rules of the agent's role: package kubeapi says them in words.
var (
	always = []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}
	forMarks     = rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"patch"}}
	forEvictions = rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}}
)

// asServiceAccount gives a service account rules, and returns its configuration.
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
	until(t, "the role", func() bool { return may(t, config, rules[len(rules)-1]) })
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

// With the role and nothing more the agent does all that it can do, and more is
// denied to it.
func roles(t *testing.T, p *controlplane.Plane) {
	config := asServiceAccount(t, p, "agent-all", append(always[:2:2], forMarks, forEvictions)...)
	pod := makePod(t, p, "role", managed)
	a := startAgent(t, config, func(o *kube.Options) {
		withMarks(o)
		o.Evict = true
	})
	a.take(t, false, oomEvent(201, oom.CauseNode, pod), oomEvent(202, oom.CauseNode, nil))
	if a.counts.get("event told") != 2 || a.counts.get("mark evicted") != 1 || a.counts.get("mark marked")+a.counts.get("mark skipped pod_gone") != 1 {
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

// Without the rights to mark and evict it still tells, and says what was denied.
func roleWithoutMarks(t *testing.T, p *controlplane.Plane) {
	config := asServiceAccount(t, p, "agent-tells", always...)
	pod := makePod(t, p, "poor", managed)
	a := startAgent(t, config, func(o *kube.Options) {
		withMarks(o)
		o.Evict = true
	})
	a.take(t, false, oomEvent(211, oom.CauseNode, pod))
	if a.counts.get("event told") != 1 || a.counts.get("mark skipped forbidden") != 2 {
		t.Errorf("counted %s", a.counts.all())
	}
	if got := getPod(t, p, pod.Name); got.ResourceVersion != pod.ResourceVersion {
		t.Errorf("the pod was changed: %v, %v", got.Annotations, got.Labels)
	}
}
