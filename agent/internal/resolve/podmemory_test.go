package resolve

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// large is a pod such as a cluster has: two containers that ran before, a few
// kilobytes of annotations, environment and managed fields.
func large(t *testing.T, n int) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: fmt.Sprintf("cart-5d9c7b8f6d-%05d", n), UID: types.UID(fmt.Sprintf("0d1a2b3c-4d5e-4f60-8a1b-%012d", n)),
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": fmt.Sprintf("%04096d", n)},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(fmt.Sprintf(`{"f:status":"%04096d"}`, n))}},
	}}
	for i, name := range []string{"app", "proxy"} {
		c := corev1.Container{Name: name, Image: "registry.invalid/shop/" + name + ":1.2.3"}
		for e := range 20 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", e), Value: fmt.Sprintf("value of %d and %d", n, e)})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
		s := corev1.ContainerStatus{Name: name, ContainerID: fmt.Sprintf("containerd://%063d%d", n, i)}
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: fmt.Sprintf("containerd://1%062d%d", n, i)}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, s)
	}
	// As the watch reads it, with strings of its own.
	data, err := pod.Marshal()
	must(t, err)
	read := &corev1.Pod{}
	must(t, read.Unmarshal(data))
	return read
}

// 250 pods, as many as a large node has, are cheap.
func TestMemory(t *testing.T) {
	const pods, most = 250, 512 << 10
	s := NewPodStore("node-a")
	before := heap()
	for n := range pods {
		small, err := strip(large(t, n))
		must(t, err)
		must(t, s.Add(small))
	}
	used := int64(heap()) - int64(before)
	t.Logf("metric=pods_memory pods=%d heap_bytes=%d", s.Len(), used)
	if used > most {
		t.Errorf("%d pods take %d bytes, want at most %d", s.Len(), used, most)
	}
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
