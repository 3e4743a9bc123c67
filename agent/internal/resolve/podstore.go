package resolve

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// KeepPods is how long a pod is known after its removal, and MaxRemovedPods how many such
// at most: the newest.
const (
	KeepPods       = 10 * time.Minute
	MaxRemovedPods = 1024
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
	// hashes returns the UID of the newest mirror of a static pod.
	hashes map[string]string
	// removed are pods that the API server has no more, oldest first.
	removed []removal
	gone    map[string]bool
	// synced is closed when the first list was read.
	synced chan struct{}
	once   sync.Once
}

type removal struct {
	uid string
	at  time.Time
}

var (
	_ Pods                    = (*PodStore)(nil)
	_ cache.TransformingStore = (*PodStore)(nil)
)

// NewPodStore returns an empty PodStore of the pods of a node. Watch fills the PodStore.
func NewPodStore(node string) *PodStore {
	return &PodStore{
		node: node, pods: map[string]*entry{}, hashes: map[string]string{},
		gone: map[string]bool{}, synced: make(chan struct{}),
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
	pod.Finished = pod.Finished || s.gone[uid]
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
	if before != nil {
		s.unlinkLocked(before)
	}
	s.putLocked(e)
	delete(s.gone, uid) // it is there after all
	return uid
}

// putLocked takes an entry and what leads to it.
func (s *PodStore) putLocked(e *entry) {
	_, known := s.pods[e.UID]
	s.pods[e.UID] = e
	// The first mirror has the hash until it goes: no other pod takes it. A new one of
	// its name has come in its place.
	holder := s.hashes[e.hash]
	h := s.pods[holder]
	if e.hash != "" && (h == nil || s.gone[holder] || !known && !e.Finished && h.Namespace == e.Namespace && h.Name == e.Name) {
		s.hashes[e.hash] = e.UID
	}
}

func (s *PodStore) removeLocked(uid string) {
	if s.gone[uid] {
		return
	}
	s.gone[uid] = true
	s.removed = append(s.removed, removal{uid, time.Now()})
}

// forgetLocked drops the removed pods whose time is over, or which are too many.
func (s *PodStore) forgetLocked() {
	for len(s.removed) > 0 && (len(s.gone) > MaxRemovedPods || time.Since(s.removed[0].at) >= KeepPods) {
		uid := s.removed[0].uid
		s.removed = s.removed[1:]
		if e := s.pods[uid]; e != nil && s.gone[uid] {
			s.unlinkLocked(e)
			delete(s.pods, uid)
			delete(s.gone, uid)
		}
	}
}

// unlinkLocked takes a pod out of the indices. Another pod's entries stay.
func (s *PodStore) unlinkLocked(e *entry) {
	if s.hashes[e.hash] == e.UID {
		delete(s.hashes, e.hash)
	}
}
