package resolve

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// tidy is how often removed pods are forgotten while nothing happens.
const tidy = time.Minute

// Watch keeps the store up to date with the pods of its node until ctx ends. An API
// server that is away, slow or refuses is asked again with growing pauses; what is
// known stays.
func (s *PodStore) Watch(ctx context.Context, client rest.Interface) {
	of := fields.OneTermEqualSelector("spec.nodeName", s.node)
	list := cache.NewListWatchFromClient(client, "pods", corev1.NamespaceAll, of)
	reflector := cache.NewReflectorWithOptions(list, &corev1.Pod{}, s, cache.ReflectorOptions{Name: "pods of " + s.node})
	done := make(chan struct{})
	go func() {
		defer close(done)
		reflector.RunWithContext(ctx)
	}()
	tick := time.NewTicker(tidy)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			s.forgetLocked()
			s.mu.Unlock()
		case <-done:
			return
		}
	}
}
