//go:build linux

package controlplane

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRestart: an object that was written is there after the API server was killed and started
// again.
func TestRestart(t *testing.T) {
	p := Start(t)
	ctx := t.Context()
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := p.Client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.KillAPI()
	if _, err := p.Client.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err == nil {
		t.Fatal("a killed API server answers")
	}
	if err := p.StartAPI(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Client.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
}
