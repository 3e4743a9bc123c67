package resolve

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// made is a pod with one container, whose current ID is given.
func made(uid, id string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-" + uid, UID: types.UID(uid)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app", ContainerID: "containerd://" + id}}},
	}
}

// byContainer finds a pod by a container's ID.
func byContainer(s *PodStore, id string) (Pod, Container, bool) {
	for _, e := range s.pods {
		if c, ok := e.Container(id); ok {
			return e.Pod, c, true
		}
	}
	return Pod{}, Container{}, false
}

// mirrored makes a pod the mirror of a static one, as kubelet does.
func mirrored(pod *corev1.Pod, name, hash string) *corev1.Pod {
	pod.Name = name
	pod.Spec.NodeName = "node-a"
	pod.Annotations = map[string]string{
		corev1.MirrorPodAnnotationKey: hash, configSource: "file", "kubernetes.io/config.hash": hash,
	}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "node-a", UID: "n", Controller: new(true)}}
	return pod
}

// A static pod's kills are its mirror's, and no pod's that only looks like one: any of
// kubelet's marks may be on the pod of a tenant.
func TestFalseMirrors(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"hash alone": func(pod *corev1.Pod) {
			pod.Annotations, pod.OwnerReferences = map[string]string{"kubernetes.io/config.hash": "hash"}, nil
		},
		"annotations alone":     func(pod *corev1.Pod) { pod.OwnerReferences = nil },
		"no source":             func(pod *corev1.Pod) { delete(pod.Annotations, configSource) },
		"from the API server":   func(pod *corev1.Pod) { pod.Annotations[configSource] = "api" },
		"no mirror":             func(pod *corev1.Pod) { delete(pod.Annotations, corev1.MirrorPodAnnotationKey) },
		"of another node":       func(pod *corev1.Pod) { pod.OwnerReferences[0].Name = "node-b" },
		"on another node":       func(pod *corev1.Pod) { pod.Spec.NodeName = "node-b" },
		"of no controller":      func(pod *corev1.Pod) { pod.OwnerReferences[0].Controller = nil },
		"of another kind":       func(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = "ReplicaSet" },
		"all of it, and later":  func(*corev1.Pod) {},
		"all of it, and ending": func(pod *corev1.Pod) { pod.DeletionTimestamp = new(metav1.Now()) },
	} {
		s := NewPodStore("node-a")
		thief := mirrored(made("thief", "c1"), "thief", "hash")
		change(thief)
		if !strings.HasPrefix(name, "all of it") {
			must(t, s.Add(thief))
			if pod, ok := s.ByUID("hash"); ok || pod.Static {
				t.Errorf("%s: taken for %+v", name, pod)
			}
			if pod, ok := s.ByUID("thief"); !ok || pod.Static {
				t.Errorf("%s: %+v, %v", name, pod, ok)
			}
		}
		must(t, s.Add(mirrored(made("m1", "c2"), "etcd", "hash")))
		must(t, s.Update(thief))
		must(t, s.Update(mirrored(made("m1", "c3"), "etcd", "hash")))
		if pod, _ := s.ByUID("hash"); pod.UID != "m1" {
			t.Errorf("%s: the static pod is %+v", name, pod)
		}
		// Made again, and the list came before the end of the first was seen.
		must(t, s.Replace([]any{thief, mirrored(made("m2", "c4"), "etcd", "hash")}, ""))
		if pod, _ := s.ByUID("hash"); pod.UID != "m2" {
			t.Errorf("%s: the static pod is %+v", name, pod)
		}
	}
}

// TestFalseMirrorAtStart: an agent that starts has all pods by one list, in the order of their
// namespaces. A tenant's pod with all marks of a mirror is younger than the mirror, or kubelet has
// deleted it and a finalizer holds it.
func TestFalseMirrorAtStart(t *testing.T) {
	at := func(pod *corev1.Pod, hour int) *corev1.Pod {
		pod.CreationTimestamp = metav1.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)
		return pod
	}
	ending := func(pod *corev1.Pod) *corev1.Pod {
		pod.DeletionTimestamp = new(metav1.Now())
		return pod
	}
	mirror := at(mirrored(made("m", "c1"), "etcd", "hash"), 2)
	for name, thief := range map[string]*corev1.Pod{
		"younger":          at(mirrored(made("thief", "c2"), "thief", "hash"), 3),
		"older and ending": ending(at(mirrored(made("thief", "c2"), "thief", "hash"), 1)),
	} {
		for _, list := range [][]*corev1.Pod{{thief, mirror}, {mirror, thief}} {
			s := NewPodStore("node-a")
			var objects []any
			for _, pod := range list {
				small, err := strip(pod)
				must(t, err)
				objects = append(objects, small)
			}
			must(t, s.Replace(objects, ""))
			if pod, _ := s.ByUID("hash"); pod.UID != "m" {
				t.Errorf("%s: the static pod is %+v", name, pod)
			}
		}
	}
	// A watch: the tenant's pod came while there was no mirror.
	s := NewPodStore("node-a")
	must(t, s.Add(mirrored(made("thief", "c2"), "thief", "hash")))
	must(t, s.Add(mirror))
	must(t, s.Update(ending(mirrored(made("thief", "c2"), "thief", "hash"))))
	if pod, _ := s.ByUID("hash"); pod.UID != "m" {
		t.Errorf("the static pod is %+v", pod)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A container has its former IDs, four at most, while it restarts.
func TestFormerIDs(t *testing.T) {
	s := NewPodStore("node-a")
	for _, id := range []string{"c1", "c2", "c3", "c4", "c5"} {
		must(t, s.Update(made("u", id)))
	}
	if _, _, ok := byContainer(s, "c1"); ok {
		t.Error("the fifth last ID is known")
	}
	for _, id := range []string{"c2", "c5"} {
		pod, c, ok := byContainer(s, id)
		if !ok || pod.Name != "cart-u" || c.Name != "app" || c.Kind != KindContainer || c.IDs[0] != "c5" {
			t.Errorf("%s: %+v, %+v, %v", id, pod, c, ok)
		}
	}
	if pod, _ := s.ByUID("u"); len(pod.Containers[0].IDs) != maxIDs {
		t.Errorf("IDs %v", pod.Containers[0].IDs)
	}
}

// A removed pod is known for ten minutes, also if it was missed by the watch.
func TestRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewPodStore("node-a")
		must(t, s.Replace([]any{made("u", "c1"), made("v", "c2"), made("w", "c3")}, ""))
		<-s.Synced()
		must(t, s.Delete(made("u", "c9")))
		must(t, s.Replace([]any{made("w", "c3")}, ""))
		time.Sleep(KeepPods - time.Second)
		for id, finished := range map[string]bool{"c1": true, "c9": true, "c2": true, "c3": false} {
			pod, _, ok := byContainer(s, id)
			if known, _ := s.ByUID(pod.UID); !ok || known.Finished != finished {
				t.Errorf("%s: %+v, %v", id, known, ok)
			}
		}
		time.Sleep(2 * time.Second)
		must(t, s.Update(made("w", "c3")))
		if _, ok := s.ByUID("u"); ok || s.Len() != 1 || len(s.room) != 1 || s.room["shop"] != 2 {
			t.Errorf("after ten minutes: %d pods, %v", s.Len(), s.room)
		}
	})
}

// A static pod is found by its own UID, which its cgroup has, and by its mirror's,
// also after the mirror was made again.
func TestStatic(t *testing.T) {
	s := NewPodStore("node-a")
	mirror := func(uid string) *corev1.Pod { return mirrored(made(uid, "c-"+uid), "etcd", "hash") }
	must(t, s.Add(mirror("m1")))
	must(t, s.Add(mirror("m2")))
	must(t, s.Delete(mirror("m1")))
	for _, uid := range []string{"hash", "m2"} {
		if pod, ok := s.ByUID(uid); !ok || pod.UID != "m2" || !pod.Static {
			t.Errorf("%s: %+v, %v", uid, pod, ok)
		}
	}
}

// TestManyPods: a tenant may make any number of pods that name the node, and remove them again. The
// pods of others stay, also those that were removed, and the tenant's that run stay before those
// that have ended.
func TestManyPods(t *testing.T) {
	in := func(namespace, name string, change func(*corev1.Pod)) *corev1.Pod {
		pod := made(namespace+name, "c"+name)
		pod.Namespace = namespace
		if change != nil {
			change(pod)
		}
		return pod
	}
	failed := func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed }
	check := func(s *PodStore) {
		t.Helper()
		room := 0
		for _, e := range s.pods {
			room += e.weight()
		}
		if room > maxPods {
			t.Errorf("%d pods take %d, want %d", s.Len(), room, maxPods)
		}
		for _, uid := range []string{"shopruns", "shopremoved", "shopended", "loudruns"} {
			if _, ok := s.ByUID(uid); !ok {
				t.Errorf("%s is not known", uid)
			}
		}
	}
	s := NewPodStore("node-a")
	must(t, s.Add(in("shop", "runs", nil)))
	must(t, s.Add(in("shop", "ended", failed)))
	must(t, s.Delete(in("shop", "removed", nil)))
	must(t, s.Add(in("loud", "runs", nil)))
	for i := range maxPods {
		must(t, s.Add(in("loud", fmt.Sprint(i), failed)))
		if i%2 == 0 {
			must(t, s.Delete(in("loud", fmt.Sprint(i), failed)))
		}
	}
	check(s)
	must(t, s.Add(in("loud", "huge", func(pod *corev1.Pod) {
		for i := range 100_000 {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprint(i)})
		}
		small, err := strip(pod)
		must(t, err)
		*pod = *small.(*corev1.Pod)
	})))
	check(s)

	list := []any{in("shop", "runs", nil), in("shop", "ended", failed), in("shop", "removed", nil), in("loud", "runs", nil)}
	for i := range 2 * maxPods {
		list = append(list, in("loud", fmt.Sprint(i), failed))
	}
	s = NewPodStore("node-a")
	must(t, s.Replace(list, ""))
	check(s)
}

// What is stripped loses nothing that is kept.
func TestStrip(t *testing.T) {
	pod := made("u", "c2")
	pod.Labels = map[string]string{"a": "b"}
	pod.Annotations = map[string]string{"large": "text"}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Controller: new(true)}}
	pod.Spec.PriorityClassName = "system-node-critical"
	pod.Spec.InitContainers = []corev1.Container{{Name: "i"}, {Name: "s", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e"}}}
	pod.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "e", ContainerID: "containerd://c3"}}
	pod.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: "containerd://c1"}
	pod.Status.Phase = corev1.PodFailed
	small, err := strip(pod)
	must(t, err)
	if got := small.(*corev1.Pod); got.Annotations["large"] != "" || len(got.Labels) != 0 {
		t.Errorf("kept %+v", got.ObjectMeta)
	}
	got, want := compact(small.(*corev1.Pod), "node-a", nil), compact(pod, "node-a", nil)
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !want.DaemonSet || !want.Managed || !want.Critical || !want.Finished || want.Static || len(want.Containers) != 4 {
		t.Errorf("compact: %+v", want)
	}
	pod.Spec.Containers[0].Image = strings.Repeat("é", 10_000)
	small, err = strip(pod)
	must(t, err)
	if image := small.(*corev1.Pod).Spec.Containers[0].Image; len(image) > maxImage || !utf8.ValidString(image) {
		t.Errorf("an image of %d bytes", len(image))
	}
	small, err = strip(mirrored(made("u", "c2"), "etcd", "h"))
	must(t, err)
	if e := compact(small.(*corev1.Pod), "node-a", nil); !e.Static || e.hash != "h" {
		t.Errorf("compact: %+v", e)
	}
}
