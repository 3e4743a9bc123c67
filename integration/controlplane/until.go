//go:build linux

package controlplane

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Deadline limits every wait for the API server.
const Deadline = 5 * time.Minute

// Until calls ask twenty times a second until ask returns true. It fails the test after
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

// WaitNamespace waits for the namespace default, which the API server makes after its start.
func (p *Plane) WaitNamespace(t testing.TB) {
	t.Helper()
	Until(t, "the namespace default", func() bool {
		_, err := p.Client.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceDefault, metav1.GetOptions{})
		return err == nil
	})
}
