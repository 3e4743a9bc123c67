//go:build linux

package plugin

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/oomwitness/oomwitness/why"
)

// chartRoles are the roles for the plugin, as the Helm chart makes them.
func chartRoles(t *testing.T) (roles []rbacv1.ClusterRole) {
	t.Helper()
	const program = "../../.cache/bin/helm"
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("Helm is not built: %v\n\"make chart\" builds it, which takes minutes", err)
	}
	out, err := exec.CommandContext(t.Context(), program, "template", "oomwitness", "../../runtime-class/chart",
		"--show-only", "templates/viewer.yaml", "--set", "agent.enabled=true").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for text := range bytes.SplitSeq(out, []byte("\n---\n")) {
		var role rbacv1.ClusterRole
		require.NoError(t, yaml.UnmarshalStrict(text, &role))
		roles = append(roles, role)
	}
	require.Len(t, roles, 2)
	return roles
}

// rights: a user who has the chart's two roles, the second in the agent's namespace alone,
// may do all that the plugin does; without the second the plugin says which right is missing.
func (b *bench) rights(t *testing.T) {
	ctx := t.Context()
	rbac := b.Client.RbacV1()
	roles := chartRoles(t)
	user := rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "ann"}
	for i := range roles {
		_, err := rbac.ClusterRoles().Create(ctx, &roles[i], metav1.CreateOptions{})
		require.NoError(t, err)
	}
	ref := func(i int) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: roles[i].Name}
	}
	as := func(args ...string) (string, string, int) { return b.run(t, append(args, "--as", "ann")...) }
	_, errs, status := as("why", b.pod, "-n", "shop")
	require.Equal(t, why.StatusError, status)
	require.Contains(t, errs, "forbidden")

	_, err := rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ann"}, RoleRef: ref(0), Subjects: []rbacv1.Subject{user},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		out, _, _ := as("why", b.pod, "-n", "shop")
		return strings.Contains(out, "the right get on pods/proxy is missing")
	}, patience, 100*time.Millisecond)

	_, err = rbac.RoleBindings("oomwitness").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ann"}, RoleRef: ref(1), Subjects: []rbacv1.Subject{user},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		out, _, _ := as("why", b.pod, "-n", "shop")
		return strings.Contains(out, "python3")
	}, patience, 100*time.Millisecond)
	for _, args := range [][]string{{"top", "-A"}, {"events", "-A"}} {
		_, errs, status := as(args...)
		require.Zero(t, status, errs)
	}
	out, _, _ := as("nodes")
	require.Contains(t, out, "node-a")
}
