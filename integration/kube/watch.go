//go:build linux

package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Sight is what the API has shown of a pod.
type Sight struct {
	Pod  *corev1.Pod // as it was shown last
	Gone bool
	// Ends are the ends that were shown of each container, as reason and status, oldest
	// first. An end that was shown again is there once.
	Ends map[string][]string

	ids map[string]string // of the containers
}

// add takes in the statuses of the pod.
func (s *Sight) add() {
	for _, status := range statuses(s.Pod) {
		if id := strings.TrimPrefix(status.ContainerID, "containerd://"); id != "" {
			s.ids[status.Name] = id
		}
		end := ended(status)
		if end == nil {
			continue
		}
		all, text := s.Ends[status.Name], fmt.Sprintf("%s %d", end.Reason, end.ExitCode)
		if len(all) == 0 || all[len(all)-1] != text {
			s.Ends[status.Name] = append(slices.Clone(all), text)
		}
	}
}

// ended is the end that a status shows: that of the run before, once the
// container is started again.
func ended(status corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if status.State.Terminated != nil {
		return status.State.Terminated
	}
	return status.LastTerminationState.Terminated
}

// Over says that the pod and what the API shows of it has come to its end.
func (s *Sight) Over() bool {
	return s.Gone || s.Pod.Status.Phase == corev1.PodSucceeded || s.Pod.Status.Phase == corev1.PodFailed
}

// ID is the runtime's last name of a container, empty while the container has none. A
// status that kubelet has made up has no name.
func (s *Sight) ID(container string) string { return s.ids[container] }

func statuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

// Watch follows the pods of the namespace by the API's watch, which shows each
// change of a status that the API took: none is missed as by asking.
type Watch struct {
	done chan struct{}

	mu      sync.Mutex // guards what follows
	pods    map[string]*Sight
	err     error
	changed chan struct{}
}

// Watch begins with the pods to come, and ends with the context.
func (c *Cluster) Watch(ctx context.Context) (*Watch, error) {
	pods := c.core.Pods(Namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	lister := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		return pods.Watch(ctx, o)
	}}
	// It begins again where it was when a connection ends.
	stream, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, lister)
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	w := &Watch{done: make(chan struct{}), pods: map[string]*Sight{}, changed: make(chan struct{})}
	go func() {
		defer close(w.done)
		for event := range stream.ResultChan() {
			w.take(event)
		}
	}()
	return w, nil
}

func (w *Watch) take(event watch.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
	pod, ok := event.Object.(*corev1.Pod)
	if !ok {
		w.err = fmt.Errorf("watch pods: %w", apierrors.FromObject(event.Object))
		return
	}
	old := w.pods[pod.Name]
	sight := &Sight{Pod: pod, Gone: event.Type == watch.Deleted, Ends: map[string][]string{}, ids: map[string]string{}}
	if old != nil && old.Pod.UID == pod.UID {
		maps.Copy(sight.Ends, old.Ends)
		maps.Copy(sight.ids, old.ids)
	}
	sight.add()
	w.pods[pod.Name] = sight
}

// Pods returns what the API has shown of each pod, by name.
func (w *Watch) Pods() map[string]*Sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.pods)
}

// Until waits until want has no complaint about what the API shows, and gives
// that.
func (w *Watch) Until(ctx context.Context, patience time.Duration, what string, want func(map[string]*Sight) error) (map[string]*Sight, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		w.mu.Lock()
		pods, broken, changed := maps.Clone(w.pods), w.err, w.changed
		w.mu.Unlock()
		if broken != nil {
			return pods, broken
		}
		err := want(pods)
		if err == nil {
			return pods, nil
		}
		select {
		case <-changed:
		case <-w.done:
			return pods, fmt.Errorf("watch of pods ended before %s: %w", what, err)
		case <-late.C:
			return pods, fmt.Errorf("wait %s for %s: %w", patience, what, err)
		case <-ctx.Done():
			return pods, fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		}
	}
}
