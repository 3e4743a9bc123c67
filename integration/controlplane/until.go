//go:build linux

package controlplane

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Deadline bounds every wait for the API server.
const Deadline = 5 * time.Minute

// Until asks twenty times a second until the answer is yes, and fails the test after
// Deadline.
func Until(t testing.TB, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(Deadline)
	for !ask() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in %s: %s", Deadline, what)
		}
	}
}

// WaitNamespace waits until the API server has made the namespace default, which it does
// after its start.
func (p *Plane) WaitNamespace(t testing.TB) {
	t.Helper()
	Until(t, "the namespace default", func() bool {
		_, err := p.Client.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceDefault, metav1.GetOptions{})
		return err == nil
	})
}
