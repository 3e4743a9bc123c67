package resolve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
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
	list.ListWithContextFunc = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.FieldSelector = of.String()
		return listPods(ctx, client, options)
	}
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

// listPods lists pods, and keeps of each what strip leaves. Before Kubernetes 1.34 an API server
// sends all pods in one answer, whatever page is asked for, and a pod may have 1 MB: so they are
// read one by one.
func listPods(ctx context.Context, client rest.Interface, options metav1.ListOptions) (*corev1.PodList, error) {
	answer, err := client.Get().Resource("pods").VersionedParams(&options, metav1.ParameterCodec).
		SetHeader("Accept", runtime.ContentTypeJSON).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return readPods(answer)
}

var errNoList = errors.New("the answer of the API server is no list of pods")

// readPods reads a list of pods in JSON.
func readPods(r io.Reader) (*corev1.PodList, error) {
	list, in := &corev1.PodList{}, json.NewDecoder(r)
	switch token, err := in.Token(); {
	case err != nil:
		return nil, fmt.Errorf("read the list of pods: %w", err)
	case token != json.Delim('{'):
		return nil, errNoList
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return nil, fmt.Errorf("read the list of pods: %w", err)
		}
		switch key {
		case "metadata":
			err = in.Decode(&list.ListMeta)
		case "items":
			err = readItems(in, list)
		default:
			err = in.Decode(new(json.RawMessage))
		}
		if err != nil {
			return nil, fmt.Errorf("read the list of pods: %w", err)
		}
	}
	_, err := in.Token() // the end
	return list, err
}

// readItems reads the pods of a list.
func readItems(in *json.Decoder, list *corev1.PodList) error {
	switch token, err := in.Token(); {
	case err != nil:
		return err
	case token == nil: // null is an empty list
		return nil
	case token != json.Delim('['):
		return errNoList
	}
	for in.More() {
		pod := &corev1.Pod{}
		if err := in.Decode(pod); err != nil {
			return err
		}
		small, err := strip(pod)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, *small.(*corev1.Pod))
	}
	_, err := in.Token() // the end
	return err
}
