package resolve

import (
	"cmp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// KeepPods is how long a pod is known after its removal. maxPods bounds all that is known,
// with their containers: four times what a large node has. Whoever may make pods may name this
// node in any number of them: kubelet refuses them, and the API server has them all the same.
const (
	KeepPods = 10 * time.Minute
	maxPods  = 8192
)

// PodStore has the pods of one node as the API server has them, and those that were
// removed in the last minutes. Of each pod it keeps what names its containers, and
// whether it may be evicted, and nothing else. All its methods may be called concurrently, and
// none waits for the API server.
type PodStore struct {
	node string

	mu sync.RWMutex
	// pods by the UID of the API server.
	pods map[string]*entry
	// hashes returns the UID of the mirror of a static pod.
	hashes map[string]string
	// room is what each namespace takes, of maxPods.
	room map[string]int
	// synced is closed when the first list was read.
	synced chan struct{}
	once   sync.Once
}

var (
	_ Pods                    = (*PodStore)(nil)
	_ cache.TransformingStore = (*PodStore)(nil)
)

// NewPodStore returns an empty PodStore of the pods of a node. Watch fills the PodStore.
func NewPodStore(node string) *PodStore {
	return &PodStore{
		node: node, pods: map[string]*entry{}, hashes: map[string]string{},
		room: map[string]int{}, synced: make(chan struct{}),
	}
}

// Synced is closed when all pods of the node were read once.
func (s *PodStore) Synced() <-chan struct{} { return s.synced }

// ByUID finds a pod by its own UID, or a static one by that in its cgroup's path.
func (s *PodStore) ByUID(uid string) (Pod, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.pods[uid]
	if e == nil {
		uid = s.hashes[uid]
		e = s.pods[uid]
	}
	if e == nil {
		return Pod{}, false
	}
	pod := e.Pod
	pod.Finished = pod.Finished || !e.gone.IsZero()
	return pod, true
}

// Len is the number of pods known, those removed included.
func (s *PodStore) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.pods)
}

// Add is called by the watch for a new pod.
func (s *PodStore) Add(obj any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setLocked(obj)
	s.forgetLocked()
	return nil
}

// Update is called by the watch for a pod that has changed.
func (s *PodStore) Update(obj any) error { return s.Add(obj) }

// Delete is called by the watch for a pod that was removed.
func (s *PodStore) Delete(obj any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Its last state has the IDs of containers that ended with it.
	if uid := s.setLocked(obj); uid != "" {
		s.removeLocked(uid)
	}
	s.forgetLocked()
	return nil
}

// Replace is called by the watch with all the pods that there are.
func (s *PodStore) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	present := map[string]bool{}
	for _, obj := range list {
		present[s.setLocked(obj)] = true
	}
	for uid := range s.pods {
		if !present[uid] {
			s.removeLocked(uid)
		}
	}
	s.forgetLocked()
	s.once.Do(func() { close(s.synced) })
	return nil
}

// Resync has no meaning here.
func (s *PodStore) Resync() error { return nil }

// Transformer makes pods small before they are kept anywhere.
func (s *PodStore) Transformer() cache.TransformFunc { return strip }

// setLocked takes a pod and returns its UID.
func (s *PodStore) setLocked(obj any) string {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.UID == "" {
		return ""
	}
	uid := string(pod.UID)
	before := s.pods[uid]
	e := compact(pod, s.node, before)
	if e.hash != "" {
		for _, other := range s.pods {
			if other.hash == e.hash && other.Namespace == e.Namespace && other.Name == e.Name && other.since.Before(e.since) {
				e.since = other.since
			}
		}
	}
	if before != nil {
		s.dropLocked(before)
	}
	s.pods[uid] = e
	s.room[e.Namespace] += e.weight()
	s.electLocked(e.hash)
	return uid
}

// electLocked finds the mirror of a static pod among the pods that have all marks of the mirror.
func (s *PodStore) electLocked(hash string) {
	delete(s.hashes, hash)
	if hash == "" {
		return
	}
	var mirror *entry
	for _, e := range s.pods {
		if e.hash == hash && (mirror == nil || lessMirror(mirror, e) < 0) {
			mirror = e
		}
	}
	if mirror != nil {
		s.hashes[hash] = mirror.UID
	}
}

// lessMirror orders pods with the marks of one mirror. A pod that is there is more than a pod
// that kubelet has deleted, because kubelet deletes what only looks like a mirror. Then the
// name that was there first is more, and of a name the newest pod.
func lessMirror(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.state(), b.state()), b.since.Compare(a.since), a.created.Compare(b.created), cmp.Compare(b.UID, a.UID))
}

func (s *PodStore) removeLocked(uid string) {
	if e := s.pods[uid]; e != nil && e.gone.IsZero() {
		e.gone = time.Now()
		s.electLocked(e.hash)
	}
}

// forgetLocked drops the removed pods whose time is over, and pods of the namespace with the
// most if they are too many.
func (s *PodStore) forgetLocked() {
	all := 0
	for _, e := range s.pods {
		if !e.gone.IsZero() && time.Since(e.gone) >= KeepPods {
			s.dropLocked(e)
			continue
		}
		all += e.weight()
	}
	for all > maxPods {
		list := s.ofLocked(events.Heaviest(s.room))
		slices.SortFunc(list, lessNeeded)
		for _, e := range list[:1+len(list)/8] { // some at once, so that a flood does not sort at each
			s.dropLocked(e)
			all -= e.weight()
		}
	}
}

// ofLocked returns the pods of a namespace.
func (s *PodStore) ofLocked(namespace string) (list []*entry) {
	for _, e := range s.pods {
		if e.Namespace == namespace {
			list = append(list, e)
		}
	}
	return list
}

// lessNeeded orders pods that have to make room: those that were removed, the first of them
// first, then those that have ended.
func lessNeeded(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.state(), b.state()), a.gone.Compare(b.gone), cmp.Compare(a.UID, b.UID))
}

// state orders pods: removed, ended, and there.
func (e *entry) state() int {
	switch {
	case !e.gone.IsZero():
		return 0
	case e.Finished:
		return 1
	}
	return 2
}

// weight is the room of a pod, of maxPods.
func (e *entry) weight() int { return 1 + len(e.Containers) }

// dropLocked forgets a pod, and what leads to it.
func (s *PodStore) dropLocked(e *entry) {
	delete(s.pods, e.UID)
	if s.room[e.Namespace] -= e.weight(); s.room[e.Namespace] == 0 {
		delete(s.room, e.Namespace)
	}
	if s.hashes[e.hash] == e.UID {
		s.electLocked(e.hash)
	}
}
