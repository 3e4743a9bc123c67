package apiserver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/apiserver"
)

// server records each request and answers with an object; a real API server is in the guest.
func server(t *testing.T, asked *string, object map[string]any) *apiserver.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*asked = fmt.Sprintf("%s %s", r.Method, r.URL)
		if r.Method == http.MethodPatch {
			*asked += fmt.Sprintf(" %s %s", r.Header.Get("Content-Type"), body)
		}
		w.Header().Set("Content-Type", "application/json")
		if object["kind"] == "Status" {
			w.WriteHeader(object["code"].(int))
		}
		_ = json.NewEncoder(w).Encode(object)
	}))
	t.Cleanup(s.Close)
	c, err := apiserver.Connect(&rest.Config{Host: s.URL})
	require.NoError(t, err)
	return c
}

func TestRequests(t *testing.T) {
	named := func(version, kind string) map[string]any {
		return map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": "x"}}
	}
	list := func(version, kind string) map[string]any {
		return map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"continue": "more"}, "items": []any{named(version, "")}}
	}
	for name, c := range map[string]struct {
		object map[string]any
		ask    func(*testing.T, *apiserver.Client) (string, error)
		want   string
	}{
		"get daemonset": {named("apps/v1", "DaemonSet"), func(t *testing.T, c *apiserver.Client) (string, error) {
			set, err := c.DaemonSet(t.Context(), "sys", "x")
			return set.Name, err
		}, "GET /apis/apps/v1/namespaces/sys/daemonsets/x"},
		"patch daemonset": {named("apps/v1", "DaemonSet"), func(t *testing.T, c *apiserver.Client) (string, error) {
			set, err := c.PatchDaemonSet(t.Context(), "sys", "x", []byte(`{}`))
			return set.Name, err
		}, "PATCH /apis/apps/v1/namespaces/sys/daemonsets/x?fieldManager=oomwitness application/strategic-merge-patch+json {}"},
		"patch node": {named("v1", "Node"), func(t *testing.T, c *apiserver.Client) (string, error) {
			return "x", c.PatchNode(t.Context(), "x", []byte(`{"a":null}`))
		}, `PATCH /api/v1/nodes/x?fieldManager=oomwitness application/merge-patch+json {"a":null}`},
		"all pods": {list("v1", "PodList"), func(t *testing.T, c *apiserver.Client) (string, error) {
			pods, err := c.Pods(t.Context(), "", metav1.ListOptions{Limit: 500, Continue: "c"})
			require.Equal(t, "more", pods.Continue)
			return pods.Items[0].Name, err
		}, "GET /api/v1/pods?continue=c&limit=500"},
		"pods of a namespace": {list("v1", "PodList"), func(t *testing.T, c *apiserver.Client) (string, error) {
			pods, err := c.Pods(t.Context(), "sys", metav1.ListOptions{LabelSelector: "a=b"})
			return pods.Items[0].Name, err
		}, "GET /api/v1/namespaces/sys/pods?labelSelector=a%3Db"},
		"nodes": {list("v1", "NodeList"), func(t *testing.T, c *apiserver.Client) (string, error) {
			nodes, err := c.Nodes(t.Context(), metav1.ListOptions{LabelSelector: "a=b"})
			return nodes.Items[0].Name, err
		}, "GET /api/v1/nodes?labelSelector=a%3Db"},
		"runtimeclasses": {list("node.k8s.io/v1", "RuntimeClassList"), func(t *testing.T, c *apiserver.Client) (string, error) {
			classes, err := c.RuntimeClasses(t.Context())
			return classes.Items[0].Name, err
		}, "GET /apis/node.k8s.io/v1/runtimeclasses"},
		"eviction": {map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Success", "code": http.StatusCreated}, func(t *testing.T, c *apiserver.Client) (string, error) {
			return "x", c.Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "x"}})
		}, "POST /api/v1/namespaces/apps/pods/x/eviction"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked string
			got, err := c.ask(t, server(t, &asked, c.object))
			require.NoError(t, err)
			require.Equal(t, c.want, asked)
			require.Equal(t, "x", got)
		})
	}
}

// TestErrors: errors that the commands distinguish keep their kind.
func TestErrors(t *testing.T) {
	for reason, is := range map[metav1.StatusReason]func(error) bool{
		metav1.StatusReasonNotFound: apierrors.IsNotFound, metav1.StatusReasonConflict: apierrors.IsConflict,
		metav1.StatusReasonTooManyRequests: apierrors.IsTooManyRequests, metav1.StatusReasonForbidden: apierrors.IsForbidden,
	} {
		var asked string
		c := server(t, &asked, map[string]any{
			"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": "why not",
			"code": map[metav1.StatusReason]int{
				metav1.StatusReasonNotFound: 404, metav1.StatusReasonConflict: 409,
				metav1.StatusReasonTooManyRequests: 429, metav1.StatusReasonForbidden: 403,
			}[reason],
		})
		err := c.Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "x"}})
		require.True(t, is(err), "%s: %v", reason, err)
		require.ErrorContains(t, err, "why not")
	}
}
